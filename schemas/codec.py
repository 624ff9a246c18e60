"""Avro single-object encoding of events: marker, CRC-64-AVRO fingerprint of the writer's schema, body."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from schemas.events import EVENTS, Event, Facts, Frames, InstanceStored, SettledSeries, StudySettled

AVRO = Path(__file__).parent / "avro"
MARKER = b"\xc3\x01"
HEADER_BYTES = 10

CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class NotAnEvent(ValueError):
    """The bytes have no marker, or the body does not match its schema: they can never be read."""


class UnknownSchema(LookupError):
    """A well-formed event whose schema is not here yet: stop, and ship the schema to this reader first."""


@dataclass(frozen=True)
class Version:
    """One schema file: `instance_stored/v1.avsc` is version 1 of InstanceStored."""

    name: str
    number: int
    path: Path
    schema: dict[str, Any]
    fingerprint: bytes


def encode(event: Event) -> bytes:
    """Return the event's bytes under the newest version of its schema."""
    version = newest(type(event).__name__)
    buffer = io.BytesIO()
    buffer.write(MARKER + version.fingerprint)
    fastavro.schemaless_writer(buffer, version.schema, _record(event))
    return buffer.getvalue()


def decode(data: bytes) -> Event:
    """Return the event in these bytes, read as the newest version of its schema.

    Raises NotAnEvent for what no schema can read, UnknownSchema for what a newer one could.
    """
    if data[:2] != MARKER or len(data) < HEADER_BYTES:
        raise NotAnEvent("no single-object marker")
    writer = by_fingerprint().get(data[2:HEADER_BYTES])
    if writer is None:
        raise UnknownSchema(f"no schema with fingerprint {data[2:HEADER_BYTES].hex()} in schemas/avro")
    kind = _classes()[writer.name]
    try:
        record = fastavro.schemaless_reader(
            io.BytesIO(data[HEADER_BYTES:]), writer.schema, newest(kind.__name__).schema
        )
        return _event(kind, cast("dict[str, Any]", record))
    except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise NotAnEvent(f"not a {writer.name}") from error


@cache
def versions() -> tuple[Version, ...]:
    """List every schema file, oldest version of each event first."""
    return tuple(sorted((_load(path) for path in AVRO.glob("*/*.avsc")), key=lambda v: (v.name, v.number)))


@cache
def by_fingerprint() -> dict[bytes, Version]:
    """Index the schema files by the eight bytes that precede a body."""
    return {version.fingerprint: version for version in versions()}


@cache
def newest(event: str) -> Version:
    """Return the newest version of the schema of the event class of this name: writers write it, readers read as it."""
    name = CAPITAL.sub("_", event).lower()
    return max((v for v in versions() if v.name == name), key=lambda v: v.number)


@cache
def _classes() -> dict[str, type[Event]]:
    return {newest(kind.__name__).name: kind for kind in EVENTS}


def _load(path: Path) -> Version:
    source = json.loads(path.read_text())
    print_of = fingerprint(to_parsing_canonical_form(source), "CRC-64-AVRO")
    schema = cast("dict[str, Any]", parse_schema(source, named_schemas={}))
    return Version(path.parent.name, int(path.stem.removeprefix("v")), path, schema, bytes.fromhex(print_of))


def _record(event: Event) -> dict[str, Any]:
    record = dict(event.__dict__)
    for name, (flatten, _) in NESTED.get(type(event), {}).items():
        record[name] = flatten(record[name])
    return record


def _event(kind: type[Event], record: dict[str, Any]) -> Event:
    for name, (_, build) in NESTED.get(kind, {}).items():
        record[name] = build(record[name])
    for name in TUPLES:
        if name in record:
            record[name] = tuple(record[name])
    return kind(**record)


TUPLES = ("cause", "warnings", "modalities", "sop_classes")

# Per event, the fields that are records themselves: how to flatten them, how to build them.
NESTED: dict[type[Event], dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    InstanceStored: {
        "facts": (lambda facts: facts.__dict__, lambda record: Facts(**record)),
        "frames": (lambda frames: frames.__dict__, lambda record: Frames(**record)),
    },
    StudySettled: {
        "series": (
            lambda series: [one.__dict__ for one in series],
            lambda records: tuple(SettledSeries(**record) for record in records),
        ),
    },
}
