"""The records of an archive's topics, decoded by a second reading of the schema files."""

import json
import os
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from fastavro.schema import parse_schema, to_parsing_canonical_form

from tests.audit.snapshot import Command, Name, Revision, StoredEvent, Study

TOPICS = (
    "instance-stored",
    "transfer-ended",
    "instance-quarantined",
    "study-command",
    "study-due",
    "study-cataloged",
    "study-settled",
    "instance-conflict",
    "study-facts",
    "record-rejected",
)
SCHEMAS = Path(__file__).parents[3] / "schemas" / "avro"


class Topics:
    """Every record of the topics from offset 0 on, by topic, and the places of those that cannot be decoded."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # By default the broker keeps a request at a partition's end for half a second, three times for each reading.
                "fetch.wait.max.ms": 10,
                "group.id": f"auditor-{os.getpid()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 8 << 20,
                "logger": None,
            }
        )
        self._schemas = schemas(SCHEMAS)
        self._at: dict[tuple[str, int], int] = {}
        self.records: dict[str, list[dict[str, Any]]] = {topic: [] for topic in TOPICS}
        self.keys: list[bytes] = []
        self.unreadable: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read_on(self) -> None:
        """Read the records that were added since the last call, to the end of every partition."""
        ends = self._partitions()
        self._consumer.assign([TopicPartition(*one, self._at.get(one, OFFSET_BEGINNING)) for one in ends])
        while ends:
            record = self._consumer.poll(30)
            if record is None:
                raise TimeoutError(f"no record from the broker for 30 s, {len(ends)} partitions are not at their end")
            error = record.error()
            if error is None:
                self._take(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.discard((record.topic(), record.partition()))
            elif not error.retriable():
                raise KafkaException(error)

    def _partitions(self) -> set[tuple[str, int]]:
        known = self._consumer.list_topics(timeout=30).topics
        return {(name, partition) for name in TOPICS if name in known for partition in known[name].partitions}

    def _take(self, record: Any) -> None:
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        self._at[topic, partition] = offset + 1
        self.keys.append(record.key() or b"")
        self.keys += [name.encode() + b"=" + (value or b"") for name, value in record.headers() or []]
        decoded = decoded_by(self._schemas, record.value() or b"")
        if decoded is None:
            self.unreadable.append(f"{topic}[{partition}]@{offset}")
        else:
            self.records[topic].append(decoded)


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


def settled(record: Mapping[str, Any]) -> Revision:
    """Read a study-settled event."""
    return Revision(
        study=Study(record["tenant"], record["study_uid"]),
        number=record["revision"],
        version=record["version"],
        digest=record["digest"],
        instances=record["instances"],
        size_bytes=record["size_bytes"],
        series=per_series(record),
        event_id=record["event_id"],
    )


def per_series(record: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return each series' count and digest; nothing when the record does not list all series."""
    if record["series_truncated"]:
        return {}
    return {one["series_uid"]: (one["instances"], one["digest"]) for one in record["series"]}


def announced(record: Mapping[str, Any]) -> StoredEvent:
    """Read an instance-stored event."""
    name = Name(record["tenant"], record["study_uid"], record["sop_uid"])
    return StoredEvent(name, record["data_hash"], record["object_key"], record["event_id"])


def commanded(record: Mapping[str, Any]) -> Command:
    """Read a study-command event."""
    return Command(study_of(record), record["event_id"], record["action"])


def due(record: Mapping[str, Any]) -> tuple[Study, str]:
    """Read a study-due event: the study, and the event id."""
    return study_of(record), record["event_id"]


def deleted(commands: Iterable[Mapping[str, Any]]) -> frozenset[Study]:
    """Return the studies whose last delete or restore among these study-commands is a delete."""
    deciding = (one for one in commands if one["action"] in ("delete", "restore"))
    last = {study_of(one): one["action"] for one in sorted(deciding, key=rank)}
    return frozenset(study for study, action in last.items() if action == "delete")


def chosen(commands: Iterable[Mapping[str, Any]]) -> dict[Name, str]:
    """Return the data hash of the content that was chosen last, by instance."""
    choices = (one for one in commands if one["action"] == "choose")
    return {Name(*study_of(one), one["sop_uid"]): one["data_hash"] for one in sorted(choices, key=rank)}


def rank(command: Mapping[str, Any]) -> tuple[Any, str]:
    """Return what ranks a command among those of its study: the greatest counts."""
    return command["occurred_at"], command["event_id"]


def study_of(record: Mapping[str, Any]) -> Study:
    """Return the study of a record."""
    return Study(record["tenant"], record["study_uid"])


def raised(record: Mapping[str, Any]) -> tuple[Name, str]:
    """Read an instance-conflict event: the instance, and the data hash of the content that is not shown."""
    return Name(record["tenant"], record["study_uid"], record["sop_uid"]), str(record["lost_data_hash"])
