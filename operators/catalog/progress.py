"""The progress of the catalog job in one shard: it lies in the catalog's own rows, and the engine's state remembers it.

The rows change in the transactions that apply the records, so a database that is restored from a backup brings the
progress that fits its other rows. The state's memory of them shows that the database has gone back.
"""

import base64
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID
from zlib import crc32

import orjson

from operators.catalog.rows import AppliedOffsetRow, TopicPartition, WaitingDueRow
from operators.stream.newer_release import UnknownState
from operators.stream.origin import Origin
from operators.stream.step import Record
from schemas.codec import decode, encode
from schemas.events import StudyDue
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND, record_key

VERSION = 2
# The version of releases that kept the whole progress in the engine's state.
CARRIED_VERSION = 1

# The reason of a stop at rows that are behind what was committed: the database was replaced by an earlier state of
# itself, and the records in between are not in it. The job must begin again at the offsets of the rows.
WENT_BACK = "catalog-went-back"

# The id of no topic: a due that waits for a record of it is ready.
NO_TOPIC = "none"

# The topics of which a due may count records, in the order in which it waits for them.
COUNTED_TOPICS = (INSTANCE_STORED.name, STUDY_COMMAND.name)

# The present id of each topic.
TopicIds = Mapping[str, str]


@dataclass(frozen=True)
class ShardProgress:
    """The last applied offset of each partition, and the highest version of an announced revision.

    A lost progress begins again at version 0: all revisions are announced again, and consumers ignore versions that
    they have seen.
    """

    applied: Mapping[TopicPartition, int] = field(default_factory=dict)
    announced: int = 0

    def advanced(self, applied: Mapping[TopicPartition, int]) -> "ShardProgress":
        """Return the progress after these offsets are applied too; none is lowered."""
        higher = {place: max(offset, self.applied.get(place, -1)) for place, offset in applied.items()}
        return ShardProgress({**self.applied, **higher}, self.announced)

    def awaited(self, due: StudyDue, topic_ids: TopicIds) -> tuple[TopicPartition, int] | None:
        """Return the first position that the due counts and that is not applied yet; None when the due is ready.

        A partition is read in the order of its offsets.
        """
        for topic, partition, offset in _counted(due):
            place = topic_partition(topic, partition, topic_ids)
            if self.applied.get(place, -1) < offset:
                return place, offset
        return None


@dataclass(frozen=True)
class CarriedProgress:
    """The progress that an earlier release kept in the engine's state; the first flush moves it into the rows."""

    applied: Mapping[TopicPartition, int] = field(default_factory=dict)
    waiting: tuple[StudyDue, ...] = ()


@dataclass(frozen=True)
class ShardMemory:
    """What the engine's state knows of a shard: the offsets that its own flushes applied, and the versions they sent.

    It is written after a flush has committed. A state that is restored has the memory of its checkpoint, so the rows of
    the same database are never behind it, and what went out later goes out again. Rows may be far ahead of it: of what
    another run has applied, this run does not know that its events were sent. `announced` is the version of the last
    announced revision, None for a job that began without state; `sent` is the highest version in any event.
    """

    applied: Mapping[TopicPartition, int] = field(default_factory=dict)
    announced: int | None = None
    sent: int = 0
    carried: CarriedProgress = field(default_factory=CarriedProgress)

    def is_ahead_of(self, progress: ShardProgress) -> bool:
        """True if a partition's offset was applied, and the rows do not say so."""
        return any(progress.applied.get(place, -1) < offset for place, offset in self.applied.items())

    def after(self, applied: Mapping[TopicPartition, int], announced: int, sent: int) -> "ShardMemory":
        """Return the memory after a flush has applied these offsets too."""
        own = ShardProgress(self.applied).advanced(self.carried.applied).advanced(applied)
        return ShardMemory(own.applied, announced, max(self.sent, sent))

    def to_bytes(self) -> bytes:
        """Return the memory as read_memory() reads it."""
        applied = [[*place, offset] for place, offset in self.applied.items()]
        stored = {"version": VERSION, "applied": applied, "announced": self.announced, "sent": self.sent}
        return orjson.dumps(stored)


def beginning(origin: Origin, shard: int) -> ShardMemory:
    """Return the memory of a shard of a job that begins at an origin without state."""
    begun = {topic_partition(*place, origin.topic_ids): offset - 1 for place, offset in origin.offsets.items()}
    applied = {place: offset for place, offset in begun.items() if offset >= 0}
    return ShardMemory(applied, origin.announced.get(shard))


def topic_partition(topic: str, partition: int, topic_ids: TopicIds) -> TopicPartition:
    """Return a partition of the present topic; the id of a topic that is not known is empty."""
    return TopicPartition(topic, topic_ids.get(topic, ""), partition)


def applied_by(records: Iterable[Record], topic_ids: TopicIds) -> dict[TopicPartition, int]:
    """Return the last offset of each partition in a batch."""
    applied: dict[TopicPartition, int] = {}
    for record in records:
        place = topic_partition(record.topic, record.partition, topic_ids)
        applied[place] = max(record.offset, applied.get(place, -1))
    return applied


def divide(
    dues: Iterable[StudyDue], progress: ShardProgress, topic_ids: TopicIds, settled: Container[str] = ()
) -> tuple[list[StudyDue], list[WaitingDueRow]]:
    """Return the dues that are ready, and the rows of those that wait.

    Those with an id in `settled` are ready: they were settled before, and so the rows have what they count.
    """
    ready: list[StudyDue] = []
    waiting: list[WaitingDueRow] = []
    for due in dues:
        awaited = None if due.event_id in settled else progress.awaited(due, topic_ids)
        if awaited is None:
            ready.append(due)
        else:
            waiting.append(waiting_row(due, *awaited))
    return ready, waiting


def waiting_row(due: StudyDue, place: TopicPartition, offset: int) -> WaitingDueRow:
    """Return the row of a due that waits for a record that it counts."""
    return WaitingDueRow(UUID(due.event_id), place.topic_id, place.partition, offset, encode(due), place.topic)


def place_of(row: WaitingDueRow) -> TopicPartition:
    """Return the partition of the record that a due waits for."""
    return TopicPartition(row.topic, row.topic_id, row.partition)


def is_lost(row: WaitingDueRow, topic_ids: TopicIds) -> bool:
    """True if the due waits for a record of a topic that was deleted: it is ready, since the record can never come."""
    return row.topic_id != topic_ids.get(row.topic, "")


def due_of(row: WaitingDueRow) -> StudyDue:
    """Return the due in a row. Raises UnknownSchema for a due of a newer writer."""
    event = decode(row.event)
    assert isinstance(event, StudyDue)  # noqa: S101  waiting_row() wrote it
    return event


def shard_of(key: bytes, shards: int) -> int:
    """Return the shard of a record's key, as the job's source does (KafkaRecords.java)."""
    return crc32(key) % shards


def due_shard(row: WaitingDueRow, shards: int) -> int:
    """Return the shard in which a due waits. Raises UnknownSchema for a due of a newer writer."""
    return shard_of(record_key(due_of(row)), shards)


def numbers_of_shards(rows: Iterable[AppliedOffsetRow]) -> frozenset[int]:
    """Return the numbers of shards under which there is progress; more than one if the number was changed by hand."""
    return frozenset(row.shards for row in rows)


def furthest_number(rows: Collection[AppliedOffsetRow], topic_ids: TopicIds) -> int:
    """Return the number of shards whose progress is the furthest; `rows` has some."""

    def records(shards: int) -> tuple[int, int]:
        return (sum(starting_offsets(rows, shards, topic_ids).values()), shards)

    return max(numbers_of_shards(rows), key=records)


def starting_offsets(
    rows: Collection[AppliedOffsetRow], shards: int, topic_ids: TopicIds
) -> dict[tuple[str, int], int]:
    """Return for each (topic, partition) the offset at which a job without state begins, so that no record is missed.

    That is the offset after the lowest of its shards. A partition is absent if it has no row in one of the shards, or
    only rows of a deleted topic: it is read from its earliest record.
    """
    by_partition: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        if row.shards == shards and topic_ids.get(row.topic, "") == row.topic_id:
            by_partition.setdefault((row.topic, row.partition), []).append(row.offset)
    return {place: min(offsets) + 1 for place, offsets in by_partition.items() if len(offsets) == shards}


def read_positions(rows: Collection[AppliedOffsetRow], topic_ids: TopicIds) -> dict[tuple[str, int], int]:
    """Return for each (topic, partition) the offset after the last record of it that any shard has applied."""
    positions: dict[tuple[str, int], int] = {}
    for row in rows:
        if topic_ids.get(row.topic, "") == row.topic_id:
            place = (row.topic, row.partition)
            positions[place] = max(row.offset + 1, positions.get(place, 0))
    return positions


def read_memory(data: bytes, topic_ids: TopicIds) -> ShardMemory:
    """Read a shard's memory from its bytes, or the progress that an earlier release kept there.

    Raises UnknownState when another version wrote the bytes, ValueError when they are no memory, UnknownSchema for a due
    of a newer writer.
    """
    try:
        stored = orjson.loads(data)
        if stored["version"] == VERSION:
            applied = {TopicPartition(*place): offset for *place, offset in stored["applied"]}
            return ShardMemory(applied, stored["announced"], stored["sent"])
        if stored["version"] == CARRIED_VERSION:
            return ShardMemory({}, stored["announced"], stored["announced"], _carried(stored, topic_ids))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "the catalog's state of a shard cannot be read: restore the job from an earlier checkpoint"
        ) from error
    raise UnknownState(
        f"catalog state has version {stored['version']}, but this release reads {VERSION}: run the release that wrote it"
    )


def _carried(stored: Mapping[str, object], topic_ids: TopicIds) -> CarriedProgress:
    applied, waiting = stored["applied"], stored["waiting"]
    if not (isinstance(applied, list) and isinstance(waiting, list)):
        raise TypeError("not a progress")
    return CarriedProgress(
        {topic_partition(topic, partition, topic_ids): offset for topic, partition, offset in applied},
        tuple(_due(text) for text in waiting),
    )


def _counted(due: StudyDue) -> Iterator[tuple[str, int, int]]:
    """Yield topic, partition and offset of the last record of each topic that a due counts."""
    if due.instance_partition is not None and due.instance_offset is not None:
        yield INSTANCE_STORED.name, due.instance_partition, due.instance_offset
    if due.command_partition is not None and due.command_offset is not None:
        yield STUDY_COMMAND.name, due.command_partition, due.command_offset


def _due(text: str) -> StudyDue:
    event = decode(base64.b64decode(text))
    if not isinstance(event, StudyDue):
        raise TypeError("not a due")
    return event
