"""Events as bytes and back: Avro's single-object encoding, which is a marker, a fingerprint of the schema, and a body."""

import dataclasses
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from schemas import events
from schemas.events import (
    EVENTS,
    Event,
    Facts,
    Frames,
    InstanceStored,
    PolicyChanged,
    PolicyCondition,
    PolicyRule,
    SeriesFacts,
    SettledSeries,
    StudyFacts,
    StudySettled,
)
from schemas.packing import Pack, packing

T = TypeVar("T")

AVRO = Path(__file__).parent / "avro"
FILES = "*/*.avsc"
MARKER = b"\xc3\x01"
HEADER_BYTES = 10

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
NO_SCHEMA = "no schema with fingerprint {} in schemas/avro"
NO_SCHEMA_TEXT = re.compile(NO_SCHEMA.format("([0-9a-f]{16})"))


class NotAnEvent(ValueError):
    """Bytes that can never be read: they have no marker, or the body does not match its schema."""


class UnknownSchema(LookupError):
    """An event whose schema this reader does not have: it must stop until the schema is deployed to it."""


@dataclass(frozen=True)
class SchemaVersion:
    """One schema file: `instance_stored/v1.avsc` is version 1 of the schema of InstanceStored.

    The fingerprint is the schema's CRC-64-AVRO.
    """

    name: str
    number: int
    path: Path
    schema: dict[str, Any]
    fingerprint: bytes


def encode(event: Event) -> bytes:
    """Return the event's bytes, written with the newest version of its schema."""
    head, pack = _packing(type(event).__name__)
    return head + pack(_record(event))


def decode(data: bytes) -> Event:
    """Return the event in these bytes, converted to the newest version of its schema.

    Raises NotAnEvent, and UnknownSchema when the bytes were written with a schema that is not in schemas/avro, or are an
    event that this release does not have. A schema that is put there later is found.
    """
    if data[:2] != MARKER or len(data) < HEADER_BYTES:
        raise NotAnEvent("no single-object marker")
    writer = _writer(data[2:HEADER_BYTES])
    if (kind := _classes().get(writer.name)) is None:
        raise UnknownSchema(f"this release has no event {writer.name}")
    reader = newest(kind.__name__)
    # Not the same schema twice: fastavro would compare the two for each event, field by field if threads loaded each.
    converted_to = None if writer.number == reader.number else reader.schema
    try:
        record = fastavro.schemaless_reader(io.BytesIO(data[HEADER_BYTES:]), writer.schema, converted_to)
        return _event(kind, cast("dict[str, Any]", record))
    except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise NotAnEvent(f"not a {writer.name}") from error


@cache
def versions() -> tuple[SchemaVersion, ...]:
    """Return every schema file, sorted by event, the oldest version first."""
    return tuple(sorted((_load(path) for path in AVRO.glob(FILES)), key=lambda v: (v.name, v.number)))


@cache
def by_fingerprint() -> dict[bytes, SchemaVersion]:
    """Return the schema files by their fingerprint, the eight bytes that precede a body."""
    return {version.fingerprint: version for version in versions()}


@cache
def newest(event: str) -> SchemaVersion:
    """Return the newest schema of an event class such as InstanceStored: events are written with it, and read into it.

    A schema with a field that the class does not have is of a newer release: it is only read with.
    """
    name = CAPITAL.sub("_", event).lower()
    return max((v for v in versions() if v.name == name and _has_class(v.schema)), key=lambda v: v.number)


def is_there_now(told: str) -> bool:
    """True if the text is of an UnknownSchema, and the schema that it lacked is in schemas/avro by now."""
    lacked = NO_SCHEMA_TEXT.search(told)
    try:
        return lacked is not None and _writer(bytes.fromhex(lacked[1])) is not None
    except (UnknownSchema, OSError, ValueError):
        # Or its file is still being written.
        return False


def _writer(crc: bytes) -> SchemaVersion:
    """Return the schema with a fingerprint; the files are read again if there are others now. Raises UnknownSchema."""
    found = by_fingerprint().get(crc)
    if found is None and {version.path for version in versions()} != set(AVRO.glob(FILES)):
        versions.cache_clear()
        by_fingerprint.cache_clear()
        found = by_fingerprint().get(crc)
    if found is None:
        raise UnknownSchema(NO_SCHEMA.format(crc.hex()))
    return found


def _has_class(schema: Any) -> bool:
    """True if every record in a schema has a class with all of its fields."""
    if isinstance(schema, list):
        return all(map(_has_class, schema))
    if not isinstance(schema, dict):
        return True
    if schema["type"] != "record":
        return all(_has_class(schema[part]) for part in ("type", "items", "values") if part in schema)
    kind = getattr(events, schema["name"].rpartition(".")[2], None)
    known = {field.name for field in dataclasses.fields(kind)} if kind else set[str]()
    return all(field["name"] in known and _has_class(field["type"]) for field in schema["fields"])


@cache
def _packing(event: str) -> tuple[bytes, Pack]:
    """Return what precedes an event's body, and the function that packs its record."""
    version = newest(event)
    return MARKER + version.fingerprint, packing(version.schema)


@cache
def _classes() -> dict[str, type[Event]]:
    return {newest(kind.__name__).name: kind for kind in EVENTS}


def _load(path: Path) -> SchemaVersion:
    source = json.loads(path.read_text())
    crc = fingerprint(to_parsing_canonical_form(source), "CRC-64-AVRO")
    schema = cast("dict[str, Any]", parse_schema(source, named_schemas={}))
    return SchemaVersion(path.parent.name, int(path.stem.removeprefix("v")), path, schema, bytes.fromhex(crc))


def _record(event: Event) -> dict[str, Any]:
    record = dict(event.__dict__)
    for name, (to_dict, _) in NESTED.get(type(event), {}).items():
        record[name] = to_dict(record[name])
    return record


def _event(kind: type[Event], record: dict[str, Any]) -> Event:
    for name, (_, from_dict) in NESTED.get(kind, {}).items():
        record[name] = from_dict(record[name])
    for name in TUPLES:
        if name in record:
            record[name] = tuple(record[name])
    return _made(kind, record)


def _made(kind: type[T], values: dict[str, Any]) -> T:
    """Return a frozen dataclass of these values, which are all of its fields: its newest schema has the same.

    The constructor of a frozen dataclass calls a function for each field, which was a quarter of decode().
    """
    made = object.__new__(kind)
    made.__dict__.update(values)
    return made


# The fields of any event that Avro reads as lists.
TUPLES = ("cause", "warnings", "modalities", "sop_classes")


def _list_of(kind: type[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the functions that turn a tuple of these records into a list of dicts, and back."""
    return (lambda items: [item.__dict__ for item in items], lambda records: tuple(_made(kind, one) for one in records))


def _rules_to_list(rules: tuple[PolicyRule, ...]) -> list[dict[str, Any]]:
    return [rule.__dict__ | {"when": [condition.__dict__ for condition in rule.when]} for rule in rules]


def _rules_of(records: list[dict[str, Any]]) -> tuple[PolicyRule, ...]:
    return tuple(_made(PolicyRule, one | {"when": tuple(map(_condition_of, one["when"]))}) for one in records)


def _condition_of(record: dict[str, Any]) -> PolicyCondition:
    return _made(PolicyCondition, record | {"any_of": tuple(record["any_of"])})


# The fields of an event that are records themselves, each with the functions that turn it into a dict and back.
NESTED: dict[type[Event], dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    InstanceStored: {
        "facts": (lambda facts: facts.__dict__, partial(_made, Facts)),
        "frames": (lambda frames: frames.__dict__, partial(_made, Frames)),
    },
    StudySettled: {"series": _list_of(SettledSeries)},
    StudyFacts: {"series": _list_of(SeriesFacts)},
    PolicyChanged: {"rules": (_rules_to_list, _rules_of)},
}
