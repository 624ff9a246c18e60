"""The records of an archive's topics, decoded by a second reading of the schema files."""

import json
import os
import time
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from fastavro.schema import parse_schema, to_parsing_canonical_form

from tests.audit.snapshot import Place

TOPICS = (
    "instance-stored",
    "transfer-ended",
    "instance-quarantined",
    "study-command",
    "policy-changed",
    "study-due",
    "study-cataloged",
    "study-settled",
    "instance-conflict",
    "study-facts",
    "record-rejected",
)
AT_ONCE, AT_ONCE_S = 1000, 0.05
PATIENCE_S = 30.0
SCHEMAS = Path(__file__).parents[3] / "schemas" / "avro"


class Topics:
    """Every record of the topics from offset 0 on, by topic, and the places of those that cannot be decoded.

    A record is its fields, of which only `fields` are kept where they are given, its `place`, and `appended_at`, the broker's
    time in Unix seconds. `ends` are the offsets after the last record of each partition.
    """

    def __init__(self, bootstrap: str, fields: Collection[str] | None = None) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # By default the broker keeps a request at a partition's end for half a second, three times for each reading.
                "fetch.wait.max.ms": 10,
                "group.id": f"auditor-{os.getpid()}",
                "enable.auto.commit": False,
                # Where a record that was to be the next one is deleted.
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 8 << 20,
                "logger": None,
            }
        )
        self._schemas = schemas(SCHEMAS)
        self._fields = fields
        self.ends: dict[tuple[str, int], int] = {}
        self.records: dict[str, list[dict[str, Any]]] = {topic: [] for topic in TOPICS}
        self._named: list[tuple[Place, bytes]] = []
        self.unreadable: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read_on(self) -> None:
        """Read the records that were added since the last call, to the end of every partition."""
        ends = self.partitions()
        self._consumer.assign([TopicPartition(*one, self.ends.get(one, OFFSET_BEGINNING)) for one in ends])
        until = time.monotonic() + PATIENCE_S
        while ends:
            # Waits for so many records, or for the time.
            if records := self._consumer.consume(AT_ONCE, AT_ONCE_S):
                until = time.monotonic() + PATIENCE_S
            elif time.monotonic() > until:
                raise TimeoutError(f"no record from the broker, {len(ends)} partitions are not at their end")
            for record in records:
                self._note(record, ends)

    def forget_before(self, begins: Mapping[tuple[str, int], int]) -> None:
        """Forget the records that the broker has deleted since they were read: those before these offsets."""
        for topic, records in self.records.items():
            self.records[topic] = [one for one in records if one["place"].offset >= begins[one["place"][:2]]]
        self._named = [one for one in self._named if one[0].offset >= begins[one[0][:2]]]
        self.unreadable = [one for one in self.unreadable if one["place"].offset >= begins[one["place"][:2]]]

    @property
    def keys(self) -> frozenset[bytes]:
        """Return what stands beside the values of records: their keys, each with its record's headers."""
        return frozenset(text for _, text in self._named)

    def partitions(self) -> set[tuple[str, int]]:
        """Return every partition of the topics that there are."""
        known = self._consumer.list_topics(timeout=30).topics
        return {(name, partition) for name in TOPICS if name in known for partition in known[name].partitions}

    def _note(self, record: Message, ends: set[tuple[str, int]]) -> None:
        error = record.error()
        if error is None:
            self._take(record)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.ends[record.topic(), record.partition()] = record.offset()
            ends.discard((record.topic(), record.partition()))
        elif not error.retriable():
            raise KafkaException(error)

    def _take(self, record: Any) -> None:
        place = Place(record.topic(), record.partition(), record.offset())
        self.ends[place[:2]] = place.offset + 1
        headers = b"\n".join(name.encode() + b"=" + (value or b"") for name, value in record.headers() or [])
        self._named.append((place, (record.key() or b"") + b"\n" + headers if headers else record.key() or b""))
        seen = {"place": place, "appended_at": record.timestamp()[1] / 1000}
        decoded = decoded_by(self._schemas, record.value() or b"")
        if decoded is None:
            self.unreadable.append(seen)
        else:
            self.records[place.topic].append(self._kept(decoded) | seen)

    def _kept(self, decoded: dict[str, Any]) -> dict[str, Any]:
        if self._fields is None:
            return decoded
        return {name: value for name, value in decoded.items() if name in self._fields}


def schemas(folder: Path) -> dict[bytes, Any]:
    """Return the committed schemas by fingerprint."""
    sources = [json.loads(path.read_text()) for path in folder.glob("*/*.avsc")]
    return {fingerprint(to_parsing_canonical_form(one)): parse_schema(one, named_schemas={}) for one in sources}


def decoded_by(known: Mapping[bytes, Any], value: bytes) -> dict[str, Any] | None:
    """Decode one record (Avro single-object encoding) with these schemas; None when that is not possible."""
    schema = known.get(value[2:10])
    if value[:2] != b"\xc3\x01" or schema is None:
        return None
    try:
        record = fastavro.schemaless_reader(BytesIO(value[10:]), schema, None)
    except (ValueError, EOFError, IndexError, TypeError):
        return None
    return record if isinstance(record, dict) else None


EMPTY = 0xC15D213AA4D7A795


def fingerprint(canonical: str) -> bytes:
    """Return the CRC-64-AVRO of a canonical schema, little endian (Avro specification, "Schema Fingerprints")."""
    value = EMPTY
    for byte in canonical.encode():
        value = (value >> 8) ^ RABIN[(value ^ byte) & 0xFF]
    return value.to_bytes(8, "little")


def rabin(value: int) -> int:
    """Return one entry of the table for fingerprints."""
    for _ in range(8):
        value = (value >> 1) ^ (EMPTY & -(value & 1))
    return value


RABIN = [rabin(byte) for byte in range(256)]
