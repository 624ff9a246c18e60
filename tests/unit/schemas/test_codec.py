"""Events survive their encoding; a committed schema never changes, has an example, and stays readable."""

import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from operators.dicom.facts import ITEMS, MAX_ITEMS, MAX_TEXT_LENGTH
from operators.dicom.frames import MAX_LENGTHS_BYTES
from schemas import codec
from schemas.events import EVENTS, Event, Facts, InstanceStored

VERSIONS = codec.versions()
NAMES = [f"{version.name}/{version.path.name}" for version in VERSIONS]


def example(version: codec.SchemaVersion) -> dict[str, Any]:
    """Return the record of the version's example."""
    return typed(json.loads(version.path.with_suffix(".example.json").read_text()), version.schema)


def written(version: codec.SchemaVersion, record: dict[str, Any]) -> bytes:
    """Return an event as the release that had this version wrote it."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, version.schema, record)
    return codec.MARKER + version.fingerprint + body.getvalue()


def instance_stored(number: int) -> codec.SchemaVersion:
    return next(version for version in VERSIONS if (version.name, version.number) == ("instance_stored", number))


def typed(record: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the record with its values in the types of the schema, where JSON has text."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    return {name: typed_value(value, types[name]) for name, value in record.items()}


def typed_value(value: Any, kind: Any) -> Any:
    if isinstance(kind, list) and isinstance(kind[-1], dict) and value is not None:
        return typed_value(value, kind[-1])
    if isinstance(kind, dict) and kind.get("logicalType") == "timestamp-micros":
        return datetime.fromisoformat(value)
    if isinstance(kind, dict) and kind["type"] == "record":
        return typed(value, kind)
    if kind == "bytes" or (isinstance(kind, list) and "bytes" in kind):
        return None if value is None else value.encode()
    return value


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_every_version_has_an_example_that_survives_the_round_trip(version: codec.SchemaVersion) -> None:
    event = codec.decode(written(version, example(version)))

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
    found = codec.decode(written(version, example(version)))

    assert isinstance(found, kind)
    assert found.event_id == example(version)["event_id"]


@pytest.mark.parametrize("number", [1, 2])
def test_the_header_bytes_of_an_older_event_are_dropped(number: int) -> None:
    version = instance_stored(number)
    record = example(version)

    assert codec.decode(written(version, record | {"header": bytes(131072)})) == codec.decode(written(version, record))


@pytest.mark.parametrize("kind", EVENTS, ids=[kind.__name__ for kind in EVENTS])
def test_every_record_class_has_the_fields_of_its_newest_schema(kind: type[Event]) -> None:
    fields = [field["name"] for field in codec.newest(kind.__name__).schema["fields"]]

    assert sorted(field.name for field in dataclasses.fields(kind)) == sorted(fields)


@pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
def test_a_decoded_event_and_the_records_in_it_have_every_field_of_their_classes(version: codec.SchemaVersion) -> None:
    event = codec.decode(written(version, example(version)))
    inner = [one for value in vars(event).values() for one in (value if isinstance(value, tuple) else (value,))]

    for made in (event, *filter(dataclasses.is_dataclass, inner)):
        assert vars(made).keys() == {field.name for field in dataclasses.fields(made)}


@pytest.mark.parametrize("data", [b"", b"\xc3", b"not avro", b"\xc3\x01short"], ids=["empty", "one", "text", "short"])
def test_bytes_without_the_marker_are_not_an_event(data: bytes) -> None:
    with pytest.raises(codec.NotAnEvent):
        codec.decode(data)


def test_an_unknown_fingerprint_raises_another_error_than_garbage() -> None:
    with pytest.raises(codec.UnknownSchema):
        codec.decode(codec.MARKER + bytes(8) + b"body")


def test_a_truncated_body_is_not_an_event() -> None:
    data = written(VERSIONS[0], example(VERSIONS[0]))

    with pytest.raises(codec.NotAnEvent):
        codec.decode(data[:-1])


def test_the_largest_event_fits_half_a_mebibyte() -> None:
    version = instance_stored(3)
    event = codec.decode(written(version, example(version)))
    assert isinstance(event, InstanceStored)
    in_items = {name for members in ITEMS.values() for name, _, _ in members}
    texts = [field.name for field in dataclasses.fields(Facts) if field.type == str | None]
    # Four bytes for each character.
    longest: dict[str, Any] = {
        name: "\U0001f9b4" * MAX_TEXT_LENGTH * (MAX_ITEMS if name in in_items else 1) for name in texts
    }
    frames = dataclasses.replace(event.frames, kind="encapsulated", lengths=bytes(MAX_LENGTHS_BYTES))
    largest = dataclasses.replace(event, facts=dataclasses.replace(event.facts, **longest), frames=frames)

    assert 256 * 1024 < len(codec.encode(largest)) <= 512 * 1024


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the folder of schemas, as that of a process that starts now."""
    copied = Path(shutil.copytree(codec.AVRO, tmp_path / "avro"))
    caches = (codec.versions, codec.by_fingerprint, codec.newest, codec._packing, codec._classes)
    monkeypatch.setattr(codec, "AVRO", copied)
    for cache in caches:
        cache.cache_clear()
    yield copied
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def newer(tmp_path: Path) -> tuple[bytes, str]:
    """Return an event as the next release writes it, with new fields in the event and in its facts, and that schema."""
    before = instance_stored(max(version.number for version in VERSIONS if version.name == "instance_stored"))
    schema = json.loads(before.path.read_text())
    facts = next(field["type"] for field in schema["fields"] if field["name"] == "facts")
    for fields in (schema["fields"], facts["fields"]):
        fields.append({"name": "colour", "type": ["null", "string"], "default": None})
    path = tmp_path / "v99.avsc"
    path.write_text(json.dumps(schema))
    record = example(before)
    return written(
        codec._load(path), {**record, "colour": "red", "facts": record["facts"] | {"colour": "blue"}}
    ), path.read_text()


def test_a_schema_that_is_put_there_later_is_read_with_and_never_written_with(folder: Path, tmp_path: Path) -> None:
    data, schema = newer(tmp_path)
    known = codec.decode(written(instance_stored(4), example(instance_stored(4))))
    with pytest.raises(codec.UnknownSchema) as unknown:
        codec.decode(data)
    before = codec.is_there_now(str(unknown.value))
    (folder / "instance_stored" / "v5.avsc").write_text("{")
    half_written = codec.is_there_now(str(unknown.value))
    (folder / "instance_stored" / "v5.avsc").write_text(schema)

    assert (before, half_written, codec.is_there_now(f"x/1 at offset 7: {unknown.value}")) == (False, False, True)
    assert codec.decode(data) == known
    assert codec.encode(known)[2 : codec.HEADER_BYTES] == instance_stored(4).fingerprint


def test_an_event_that_this_release_does_not_have_is_unknown_although_its_schema_is_there(folder: Path) -> None:
    (folder / "colour_chosen").mkdir()
    path = folder / "colour_chosen" / "v1.avsc"
    path.write_text(json.dumps({"type": "record", "name": "ColourChosen", "fields": []}))

    with pytest.raises(codec.UnknownSchema, match="this release has no event colour_chosen") as unknown:
        codec.decode(written(codec._load(path), {}))
    assert not codec.is_there_now(str(unknown.value))
