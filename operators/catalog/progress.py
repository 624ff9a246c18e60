"""What the catalog job remembers of a shard between batches."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from operators.stream.step import Record
from schemas.codec import decode, encode
from schemas.events import StudyDue
from schemas.topics import INSTANCE_STORED

VERSION = 1

Place = tuple[str, int]


@dataclass(frozen=True)
class Head:
    """A shard's progress: the last offset applied per (topic, partition), dues that wait, the highest version announced.

    Announced begins at 0: what a lost state had already announced goes out again, and consumers drop it by version.
    """

    applied: Mapping[Place, int] = field(default_factory=dict)
    waiting: tuple[StudyDue, ...] = ()
    announced: int = 0

    def advanced(self, records: Iterable[Record], dues: Iterable[StudyDue], now: datetime) -> "Head":
        """Return the head once these records are applied and these dues wait too, each once.

        A due that is as old as the instances it counts may live waits for records that are gone: it is dropped.
        """
        applied = dict(self.applied)
        for record in records:
            place = (record.topic, record.partition)
            applied[place] = max(record.offset, applied.get(place, -1))
        oldest = now - timedelta(milliseconds=INSTANCE_STORED.retention_ms)
        waiting = {due.event_id: due for due in (*self.waiting, *dues) if due.occurred_at > oldest}
        return Head(applied, tuple(waiting.values()), self.announced)

    def is_ready(self, due: StudyDue) -> bool:
        """True if everything that the due counts is applied: its shard sees each partition in order."""
        if due.instance_partition is None or due.instance_offset is None:
            return True
        return self.applied.get((INSTANCE_STORED.name, due.instance_partition), -1) >= due.instance_offset

    def to_bytes(self) -> bytes:
        """Return the bytes that read() takes."""
        return orjson.dumps(
            {
                "version": VERSION,
                "applied": [[topic, partition, offset] for (topic, partition), offset in self.applied.items()],
                "waiting": [base64.b64encode(encode(due)).decode() for due in self.waiting],
                "announced": self.announced,
            }
        )


def read(data: bytes | None) -> Head:
    """Read a head back, a new one from None; raises ValueError for bytes of another version or of no head at all."""
    if data is None:
        return Head()
    try:
        stored = orjson.loads(data)
        if stored["version"] == VERSION:
            return Head(
                {(topic, partition): offset for topic, partition, offset in stored["applied"]},
                tuple(_due(text) for text in stored["waiting"]),
                stored["announced"],
            )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("the catalog's state of a shard cannot be read") from error
    raise ValueError("the catalog's state of a shard was written by another version")


def _due(text: str) -> StudyDue:
    event = decode(base64.b64decode(text))
    if not isinstance(event, StudyDue):
        raise TypeError("not a due")
    return event
