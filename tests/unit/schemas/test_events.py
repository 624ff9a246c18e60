"""The folder of schemas keeps its promises: a committed version never changes, each can be read, each has an example."""

import dataclasses
import hashlib
import io
import json
from datetime import datetime
from typing import Any

import fastavro
import pytest

from schemas import codec
from schemas.events import EVENTS, Event, InstanceStored, event_id
from schemas.topics import TOPICS, study_key

VERSIONS = codec.versions()
NAMES = [f"{version.name}/{version.path.name}" for version in VERSIONS]


def example(version: codec.Version) -> Event:
    path = version.path.with_suffix(".example.json")
    kind = next(kind for kind in EVENTS if codec.newest(kind.__name__).name == version.name)
    return codec._event(kind, revive(json.loads(path.read_text()), version.schema))


def revive(record: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return JSON's text back the types that JSON lacks, as the schema says."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    return {name: revive_value(value, types[name]) for name, value in record.items()}


def revive_value(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict) and kind.get("logicalType") == "timestamp-micros":
        return datetime.fromisoformat(value)
    if isinstance(kind, dict) and kind["type"] == "record":
        return revive(value, kind)
    if kind == "bytes" or (isinstance(kind, list) and "bytes" in kind):
        return None if value is None else value.encode()
    return value


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_every_version_has_an_example_that_survives_the_round_trip(version: codec.Version) -> None:
    event = example(version)

    assert codec.decode(codec.encode(event)) == event


@pytest.mark.parametrize(("version", "name"), list(zip(VERSIONS, NAMES, strict=True)), ids=NAMES)
def test_a_committed_version_never_changes(version: codec.Version, name: str) -> None:
    committed = dict(line.split(" ", 1) for line in (codec.AVRO / "fingerprints.txt").read_text().splitlines())
    digest = hashlib.sha256(version.path.read_bytes()).hexdigest()

    assert committed[name] == f"{digest} {version.fingerprint.hex()}"


def test_every_committed_version_is_still_there() -> None:
    committed = [line.split()[0] for line in (codec.AVRO / "fingerprints.txt").read_text().splitlines()]

    assert sorted(NAMES) == sorted(committed)


def test_no_two_versions_share_a_fingerprint() -> None:
    assert len(codec.by_fingerprint()) == len(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_every_version_is_readable_by_the_newest_reader(version: codec.Version) -> None:
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


def test_every_event_has_a_topic() -> None:
    assert {topic.event for topic in TOPICS} == set(EVENTS)


def test_only_restricted_topics_hold_patient_data() -> None:
    with_patient_data = {kind for kind in EVENTS if "patient data: restricted" in described(kind)}
    with_patient_data |= {kind for kind in EVENTS if "May hold patient data" in described(kind)}

    assert {topic.event for topic in TOPICS if topic.restricted} == with_patient_data


def described(kind: type[Event]) -> str:
    return str(codec.newest(kind.__name__).schema["doc"])


@pytest.mark.parametrize("data", [b"", b"\xc3", b"not avro", b"\xc3\x01short"], ids=["empty", "one", "text", "short"])
def test_bytes_without_the_marker_are_not_an_event(data: bytes) -> None:
    with pytest.raises(codec.NotAnEvent):
        codec.decode(data)


def test_an_unknown_fingerprint_is_told_apart_from_garbage() -> None:
    with pytest.raises(codec.UnknownSchema):
        codec.decode(codec.MARKER + bytes(8) + b"body")


def test_a_torn_body_is_not_an_event() -> None:
    data = codec.encode(example(VERSIONS[0]))

    with pytest.raises(codec.NotAnEvent):
        codec.decode(data[:-1])


def test_the_same_parts_give_the_same_event_id() -> None:
    assert event_id("a", "b") == event_id("a", "b") != event_id("a", "c")


def test_an_event_with_the_largest_inline_header_fits_half_a_mebibyte() -> None:
    event = next(example(version) for version in VERSIONS if version.name == "instance_stored")
    assert isinstance(event, InstanceStored)
    frames = dataclasses.replace(event.frames, kind="encapsulated", lengths=bytes(65536))

    assert len(codec.encode(dataclasses.replace(event, header=bytes(131072), frames=frames))) <= 512 * 1024


def test_one_study_has_one_record_key() -> None:
    assert study_key("local", "1.2.3") == b"local/1.2.3"
