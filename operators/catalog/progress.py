"""The progress of the catalog job in one shard, which it keeps between batches."""

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

# A topic and one of its partitions.
Partition = tuple[str, int]


@dataclass(frozen=True)
class ShardProgress:
    """The last applied offset of each partition, the waiting dues, and the version of the last announced revision.

    A lost progress begins again at version 0: all revisions are announced again, and consumers ignore versions that
    they have seen.
    """

    applied: Mapping[Partition, int] = field(default_factory=dict)
    waiting: tuple[StudyDue, ...] = ()
    announced: int = 0

    def advanced(self, records: Iterable[Record], dues: Iterable[StudyDue], now: datetime) -> "ShardProgress":
        """Return the progress after these records are applied and these dues wait too; a repeated due waits once.

        A due older than the retention of instance-stored is dropped: the records that it waits for have expired.
        """
        applied = dict(self.applied)
        for record in records:
            partition = (record.topic, record.partition)
            applied[partition] = max(record.offset, applied.get(partition, -1))
        oldest = now - timedelta(milliseconds=INSTANCE_STORED.retention_ms)
        waiting = {due.event_id: due for due in (*self.waiting, *dues) if due.occurred_at > oldest}
        return ShardProgress(applied, tuple(waiting.values()), self.announced)

    def is_ready(self, due: StudyDue) -> bool:
        """True if every instance that the due counts is applied; a partition is read in the order of its offsets."""
        if due.instance_partition is None or due.instance_offset is None:
            return True
        return self.applied.get((INSTANCE_STORED.name, due.instance_partition), -1) >= due.instance_offset

    def to_bytes(self) -> bytes:
        """Return the progress as read_progress() reads it."""
        return orjson.dumps(
            {
                "version": VERSION,
                "applied": [[topic, partition, offset] for (topic, partition), offset in self.applied.items()],
                "waiting": [base64.b64encode(encode(due)).decode() for due in self.waiting],
                "announced": self.announced,
            }
        )


def read_progress(data: bytes | None) -> ShardProgress:
    """Read a progress from its bytes; None gives an empty progress.

    Raises ValueError when another version wrote the bytes, or they are no progress; UnknownSchema for a due of a newer
    writer.
    """
    if data is None:
        return ShardProgress()
    try:
        stored = orjson.loads(data)
        if stored["version"] == VERSION:
            return ShardProgress(
                {(topic, partition): offset for topic, partition, offset in stored["applied"]},
                tuple(_due(text) for text in stored["waiting"]),
                stored["announced"],
            )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "the catalog's state of a shard cannot be read: restore the job from an earlier checkpoint"
        ) from error
    raise ValueError("the catalog's state of a shard was written by another version: run the release that wrote it")


def _due(text: str) -> StudyDue:
    event = decode(base64.b64decode(text))
    if not isinstance(event, StudyDue):
        raise TypeError("not a due")
    return event
