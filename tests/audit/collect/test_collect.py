"""The observer reads objects, records and logs as they are."""

import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fastavro
import pytest
from fastavro.schema import parse_schema, to_parsing_canonical_form
from hypothesis import given
from hypothesis import strategies as st
from minio import S3Error

from tests.audit.collect.api import hash_of_answer
from tests.audit.collect.logs import pieces
from tests.audit.collect.object_store import instance_content, listed, quarantined_content
from tests.audit.collect.records import chosen, deleted
from tests.audit.collect.topics import SCHEMAS, decoded_by, fingerprint, schemas
from tests.audit.ledger import Line
from tests.audit.sampling import sample
from tests.audit.snapshot import Name, Study
from tests.support.data.generate import Volume, instances

MADE = next(instances(Volume(slices=1, size=16)))
PART10 = MADE.meta + MADE.header + MADE.pixels
HEADER_LENGTH = len(MADE.meta) + len(MADE.header) - 12


class Stream:
    """A response whose body comes in pieces of this size, after a first one that is the file meta."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    def stream(self, _: int) -> Iterator[bytes]:
        cuts = [0, len(MADE.meta), *range(len(MADE.meta) + self.size, len(self.data), self.size), len(self.data)]
        return (self.data[a:b] for a, b in itertools.pairwise(cuts))


@given(size=st.integers(1, 4000))
def test_hashes_and_tag_do_not_depend_on_how_an_object_is_cut_into_chunks(size: int) -> None:
    content = instance_content(Stream(PART10, size), {"header-length": str(HEADER_LENGTH)})  # type: ignore[arg-type]

    assert content.data_hash == MADE.data_hash
    assert content.prefix_hash == hashlib.sha256(MADE.meta).hexdigest()
    assert content.after_header == b"\xe0\x7f\x10\x00"


@given(size=st.integers(1, 4000))
def test_the_hash_of_a_retrieved_instance_does_not_depend_on_how_the_answer_is_cut(size: int) -> None:
    begins = b"--4f--x\r\nContent-Type: application/dicom\r\n\r\n"
    body = begins + PART10 + b"\r\n--4f--x--\r\n"
    cuts = [0, len(begins) + len(MADE.meta), *range(len(begins) + len(MADE.meta) + size, len(body), size), len(body)]

    chunks = (body[a:b] for a, b in itertools.pairwise(cuts))

    assert hash_of_answer('multipart/related; type="application/dicom"; boundary="4f--x"', chunks) == MADE.data_hash


@given(size=st.integers(1, 4000), meta=st.integers(0, len(PART10)))
def test_the_hashes_of_a_quarantined_object_do_not_depend_on_how_it_is_cut(size: int, meta: int) -> None:
    envelope = {"prefix-length": str(meta), "transfer-syntax": "1.2.840.10008.1.2.1"}
    content = quarantined_content(Stream(PART10, size), envelope)  # type: ignore[arg-type]

    assert content.data_hash == hashlib.sha256(b"1.2.840.10008.1.2.1\0" + PART10[meta:]).hexdigest()
    assert content.prefix_hash == hashlib.sha256(PART10[:meta]).hexdigest()


@pytest.mark.parametrize(("said", "tag"), [(len(PART10), b""), (len(PART10) + 1, None), (-1, None)])
def test_a_header_may_end_with_the_object_but_not_beyond(said: int, tag: bytes | None) -> None:
    content = instance_content(Stream(PART10, 100), {"header-length": str(said)})  # type: ignore[arg-type]

    assert content.after_header == tag


class Bucketful:
    """A client of a store with these keys in each bucket."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def list_objects(self, bucket: str, *, recursive: bool) -> list[SimpleNamespace]:
        if bucket == "missing":
            raise S3Error(None, "NoSuchBucket", None, None, None, None)  # type: ignore[arg-type]
        return [SimpleNamespace(object_name=key, size=7, etag="etag") for key in self.keys if recursive]


def test_objects_of_commands_and_policies_are_no_instances_and_a_missing_bucket_has_none() -> None:
    instance = "local/1.2/1.2.1/1.2.1.1_hash.dcm"
    client = Bucketful(instance, "local/1.2/_commands/1.json", "local/_policies/tiering/age/000001.json")

    assert list(listed(client, ["hot", "missing"])) == [("hot", instance, 7)]  # type: ignore[arg-type]


def test_every_committed_schema_decodes_its_own_records() -> None:
    known = schemas(SCHEMAS)
    source = json.loads((SCHEMAS / "study_cataloged" / "v1.avsc").read_text())
    record = {"event_id": "x", "tenant": "local", "occurred_at": 0, "cause": [], "study_uid": "1.2", "version": 7}
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, parse_schema(source), record)
    head = b"\xc3\x01" + fingerprint(to_parsing_canonical_form(source))

    decoded = decoded_by(known, head + buffer.getvalue())

    assert decoded is not None
    assert decoded["version"] == 7
    assert decoded_by(known, b"\xc3\x01" + b"8" * 8 + buffer.getvalue()) is None
    assert decoded_by(known, head) is None
    assert decoded_by(known, b"") is None


def test_a_fingerprint_is_that_of_the_avro_specification() -> None:
    # Avro 1.12, share/test/data/schema-tests.txt
    assert fingerprint('"null"') == (7195948357588979594).to_bytes(8, "little")
    assert fingerprint('"boolean"') == (-6970731678124411036).to_bytes(8, "little", signed=True)


def test_a_token_at_the_border_of_two_pieces_of_a_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"." * (16 * 2**20 - 4) + b"QZCANARY")

    assert [b"QZCANARY" in data for _, data in pieces(path, Path("a.log"))] == [False, True]


@given(count=st.integers(0, 300), most=st.integers(0, 300))
def test_a_sample_is_bounded_and_begins_with_the_first_item(count: int, most: int) -> None:
    lines = [Line("acked", "local", "1", "1", str(number), "") for number in range(count)]

    taken = sample(lines, most)

    assert len(taken) <= most
    assert not (count and most) or taken[0] is lines[0]


def test_the_last_command_by_time_and_id_says_if_a_study_is_deleted() -> None:
    said = [
        ("1", 1, "b", "delete"),
        ("1", 1, "a", "restore"),
        ("2", 2, "a", "restore"),
        ("2", 1, "b", "delete"),
        ("3", 1, "a", "hold"),
    ]
    records = [
        {"tenant": "local", "study_uid": study, "occurred_at": at, "event_id": one, "action": action}
        for study, at, one, action in said
    ]

    assert deleted(records) == {Study("local", "1")}


def test_the_last_choice_by_time_and_id_counts() -> None:
    said = [("1", 1, "b", "first"), ("1", 1, "a", "second"), ("2", 1, "b", "first"), ("2", 2, "a", "second")]
    records = [
        {
            "tenant": "local",
            "study_uid": "1",
            "occurred_at": at,
            "event_id": one,
            "action": "choose",
            "sop_uid": sop_uid,
            "data_hash": data_hash,
        }
        for sop_uid, at, one, data_hash in said
    ]

    assert chosen(records) == {Name("local", "1", "1"): "first", Name("local", "1", "2"): "second"}
