"""The AsyncAPI document is valid by AsyncAPI's own schema, and names the schema files."""

import gzip
import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from deploy.documents import asyncapi
from schemas import codec
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[4]
# schemas/3.0.0-without-$id.json of the npm package @asyncapi/specs 6.11.1 (Apache-2.0), compressed.
SCHEMA = ROOT / "tests/support/data/schemas/asyncapi-3.0.0.json.gz"


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    return Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))


def test_the_document_is_valid(validator: Draft7Validator) -> None:
    assert [error.message[:200] for error in validator.iter_errors(asyncapi.document())] == []


def test_the_schema_finds_what_is_wrong(validator: Draft7Validator) -> None:
    wrong = asyncapi.document()
    wrong["channels"]["study-settled"]["adress"] = "study-settled"

    assert not validator.is_valid(wrong)


def test_payloads_are_the_newest_schema_files() -> None:
    messages = asyncapi.document()["components"]["messages"]
    found = {name: ROOT / "docs" / one["payload"]["schema"]["$ref"] for name, one in messages.items()}

    assert {name: path.resolve() for name, path in found.items()} == {
        topic.event.__name__: codec.newest(topic.event.__name__).path for topic in TOPICS
    }


def test_what_a_topic_is_for_the_archive_itself() -> None:
    operations = asyncapi.document()["operations"]

    assert operations["receive-instance-stored"]["summary"] == "By study, catalog."
    assert operations["send-study-facts"]["channel"] == {"$ref": "#/channels/study-facts"}
    assert "receive-study-facts" not in operations
