"""Events survive their encoding; a committed schema never changes, has an example, and stays readable."""

import dataclasses
import hashlib
import io
import json
from datetime import datetime
from typing import Any

import fastavro
import pytest

from schemas import codec
from schemas.events import EVENTS, Event, InstanceStored

VERSIONS = codec.versions()
NAMES = [f"{version.name}/{version.path.name}" for version in VERSIONS]


def example(version: codec.SchemaVersion) -> Event:
    path = version.path.with_suffix(".example.json")
    kind = next(kind for kind in EVENTS if codec.newest(kind.__name__).name == version.name)
    return codec._event(kind, typed(json.loads(path.read_text()), version.schema))


def typed(record: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the record with its values in the types of the schema, where JSON has text."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    return {name: typed_value(value, types[name]) for name, value in record.items()}


def typed_value(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict) and kind.get("logicalType") == "timestamp-micros":
        return datetime.fromisoformat(value)
    if isinstance(kind, dict) and kind["type"] == "record":
        return typed(value, kind)
    if kind == "bytes" or (isinstance(kind, list) and "bytes" in kind):
        return None if value is None else value.encode()
    return value


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_every_version_has_an_example_that_survives_the_round_trip(version: codec.SchemaVersion) -> None:
    event = example(version)

    assert codec.decode(codec.encode(event)) == event


@pytest.mark.parametrize(("version", "name"), list(zip(VERSIONS, NAMES, strict=True)), ids=NAMES)
def test_a_committed_version_never_changes(version: codec.SchemaVersion, name: str) -> None:
    committed = dict(line.split(" ", 1) for line in (codec.AVRO / "fingerprints.txt").read_text().splitlines())
    digest = hashlib.sha256(version.path.read_bytes()).hexdigest()

    assert committed[name] == f"{digest} {version.fingerprint.hex()}"


def test_every_committed_version_still_exists() -> None:
    committed = [line.split()[0] for line in (codec.AVRO / "fingerprints.txt").read_text().splitlines()]

    assert sorted(NAMES) == sorted(committed)


def test_no_two_versions_share_a_fingerprint() -> None:
    assert len(codec.by_fingerprint()) == len(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_every_version_is_readable_by_the_newest_reader(version: codec.SchemaVersion) -> None:
    kind = next(kind for kind in EVENTS if codec.newest(kind.__name__).name == version.name)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, version.schema, codec._record(example(version)))
    found = codec.decode(codec.MARKER + version.fingerprint + body.getvalue())

    assert isinstance(found, kind)
    assert found.event_id == example(version).event_id


@pytest.mark.parametrize("kind", EVENTS, ids=[kind.__name__ for kind in EVENTS])
def test_every_record_class_has_the_fields_of_its_newest_schema(kind: type[Event]) -> None:
    fields = [field["name"] for field in codec.newest(kind.__name__).schema["fields"]]

    assert sorted(field.name for field in dataclasses.fields(kind)) == sorted(fields)


@pytest.mark.parametrize("data", [b"", b"\xc3", b"not avro", b"\xc3\x01short"], ids=["empty", "one", "text", "short"])
def test_bytes_without_the_marker_are_not_an_event(data: bytes) -> None:
    with pytest.raises(codec.NotAnEvent):
        codec.decode(data)


def test_an_unknown_fingerprint_raises_another_error_than_garbage() -> None:
    with pytest.raises(codec.UnknownSchema):
        codec.decode(codec.MARKER + bytes(8) + b"body")


def test_a_truncated_body_is_not_an_event() -> None:
    data = codec.encode(example(VERSIONS[0]))

    with pytest.raises(codec.NotAnEvent):
        codec.decode(data[:-1])


def test_an_event_with_the_largest_inline_header_fits_half_a_mebibyte() -> None:
    event = next(example(version) for version in VERSIONS if version.name == "instance_stored")
    assert isinstance(event, InstanceStored)
    frames = dataclasses.replace(event.frames, kind="encapsulated", lengths=bytes(65536))

    assert len(codec.encode(dataclasses.replace(event, header=bytes(131072), frames=frames))) <= 512 * 1024
