"""The study job and the catalog job over the broker in memory; they are killed, and go on from their checkpoints."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from operators.catalog.flush import flush
from operators.connectors.kafka.positions import Extent, Partition
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from operators.connectors.memory.stores import MemoryEventLog
from operators.deidentify.study_facts import with_study_facts
from operators.stream.arrival import arrival
from operators.stream.origin import Origin
from operators.stream.step import Output, Record
from operators.study.due import due_step, identity
from pipelines.jobs import CATALOG, STUDY
from pipelines.launch import losses
from pipelines.launch.rows import Servers, origin_at_rows
from schemas.settings.jobs import JobSettings, StudySettings
from schemas.topics import PARTITIONS, Topic
from tests.support.worlds.virtual_time import Engine

# The most records that a job reads from a partition at a time.
READ_AT_ONCE = 4
FACTS_KEY = b"a key of thirty-two characters.."
SETTINGS = StudySettings(released_s=2, quiet_s=10, quiet_by_modality="", quiet_open_s=20, limit_s=120)


@dataclass
class Source:
    """The offsets at which a job reads on."""

    events: MemoryEventLog
    topics: tuple[Topic, ...]
    chance: Random
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def read(self, most: int = READ_AT_ONCE) -> list[Record]:
        """Return the next records: partitions in any order, and each partition in its own."""
        waiting = self._waiting()
        self.chance.shuffle(waiting)
        return [record for partition in waiting for record in self._take(partition, most)]

    @property
    def is_at_end(self) -> bool:
        """True if every record was read."""
        return not self._waiting()

    def _waiting(self) -> list[tuple[str, int]]:
        names = {topic.name for topic in self.topics}
        return [
            place
            for place, records in self.events.records.items()
            if place[0] in names and len(records) > self.offsets.get(place, 0)
        ]

    def _take(self, partition: tuple[str, int], most: int) -> list[Record]:
        start = self.offsets.get(partition, 0)
        taken = self.events.records[partition][start : start + self.chance.randint(1, most)]
        self.offsets[partition] = start + len(taken)
        return [
            Record(*partition, start + index, time_ms, key, value) for index, (key, value, time_ms) in enumerate(taken)
        ]


class Sink:
    """What a job has sent; an attempt that dies may lose what it has not sent yet."""

    def __init__(self, events: MemoryEventLog) -> None:
        self._events = events

    async def send(self, outputs: Iterable[Output]) -> None:
        """Append these outputs to their topics."""
        for output in outputs:
            await self._events.publish(output.topic, output.event)


class StudyJob:
    """The study job: the real step in an engine of virtual time."""

    def __init__(self, events: MemoryEventLog, chance: Random, now: float) -> None:
        self._source = Source(events, STUDY.reads, chance)
        self._sink = Sink(events)
        self.begin_again(now)

    def begin_again(self, now: float) -> None:
        """Begin without state at the earliest records."""
        self._source.offsets = {}
        self._engine = Engine(due_step(SETTINGS), identity, now)
        self.checkpoint()

    async def work(self, now: float) -> None:
        """Read on, let timers fire, and send what is due."""
        self._engine.run_until(now)
        for record in self._source.read():
            self._engine.feed(record.key.decode(), arrival(record))
        await self._sink.send(self._engine.outputs)
        self._engine.outputs.clear()

    def checkpoint(self) -> None:
        """Complete a checkpoint."""
        self._saved = (self._engine.snapshot(), dict(self._source.offsets))

    def restart(self, now: float) -> None:
        """Go on from the last checkpoint."""
        state, offsets = self._saved
        self._engine.restore(state, now)
        self._source.offsets = dict(offsets)

    @property
    def is_idle(self) -> bool:
        """True if every record was read and no study waits for anything."""
        return self._source.is_at_end and not self._engine.heads


@dataclass
class Positions:
    """The BrokerPositions of the broker in memory, for one group; nothing in it expires."""

    events: MemoryEventLog
    group_offsets: Mapping[Partition, int] = field(default_factory=dict)

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return {topic: f"id of {topic}" for topic in topics}

    def extents(self, topics: Iterable[str]) -> dict[Partition, Extent]:
        places = [(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        return {place: Extent(0, len(self.events.records.get(place, ()))) for place in places}

    def offsets_at(self, topics: Iterable[str], at_ms: int) -> dict[Partition, int]:  # noqa: ARG002
        return dict.fromkeys(self.extents(topics), 0)

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        committed = self.group_offsets if group == CATALOG.name else {}
        return {place: committed[place] for place in partitions if place in committed}

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        raise AssertionError((group, offsets))


class CatalogJob:
    """The catalog job: the real flush over buffers that are in each checkpoint; it keeps the topics' ids in a folder."""

    def __init__(self, events: MemoryEventLog, catalog: MemoryCatalog, chance: Random, folder: Path) -> None:
        self._catalog = catalog
        self._chance = chance
        self._source = Source(events, CATALOG.reads, chance)
        self._sink = Sink(events)
        self._settings = JobSettings(checkpoint_dir=folder, shards=catalog.shards)
        self._broker = Positions(events)
        losses.guard(self._broker, self._settings)
        self._origin = Origin(losses.topic_ids(self._settings))
        self._forget()

    async def work(self, now: float, *, dies_after_commit: bool = False) -> None:
        """Read on and flush some of the buffers; if it dies after a commit, nothing of that flush is sent."""
        shards = self._settings.shards
        for record in self._source.read():
            self._buffers[shard_of(record.key, shards)].append(record)
        for shard in self._chance.sample(range(shards), self._chance.randint(0, shards)):
            if self._buffers[shard]:
                await self._flush(shard, now, is_sent=not dies_after_commit)
        if dies_after_commit:
            self.restart()

    async def flush_all(self, now: float) -> None:
        """Flush every buffer, empty or not: a database that went back is noticed."""
        for shard in range(self._settings.shards):
            await self._flush(shard, now, is_sent=True)

    def checkpoint(self) -> None:
        """Complete a checkpoint; the group commits its offsets."""
        self._saved: Any = deepcopy((self._source.offsets, self._buffers, self._heads))
        self._broker.group_offsets = dict(self._source.offsets)

    def restart(self) -> None:
        """Go on from the last checkpoint."""
        self._source.offsets, self._buffers, self._heads = deepcopy(self._saved)

    def _begin_at_rows(self) -> None:
        """Begin without state at the offsets of the rows, as the launcher does with a database that went back."""
        progress = MemoryProgress(tables=self._catalog.tables)
        self._origin = origin_at_rows(CATALOG, self._settings, Servers(self._broker, progress))
        self._source.offsets = dict(self._origin.offsets)
        self._forget()
        progress.note_begun(self._settings.shards)

    def _forget(self) -> None:
        """Have no state."""
        self._buffers = {shard: [] for shard in range(self._settings.shards)}
        self._heads = {}
        self.checkpoint()

    @property
    def is_idle(self) -> bool:
        """True if every record was read and flushed."""
        return self._source.is_at_end and not any(self._buffers.values())

    async def _flush(self, shard: int, now: float, *, is_sent: bool) -> None:
        records = tuple(self._buffers[shard])
        flush_shard = with_study_facts(partial(flush, self._catalog, origin=self._origin), FACTS_KEY)
        flushed = flush_shard(shard, self._heads.get(shard), records, now)
        if flushed.stop:
            self._begin_at_rows()
            return
        self._buffers[shard] = []
        self._heads[shard] = flushed.head
        if is_sent:
            await self._sink.send(flushed.outputs)


def shard_of(key: bytes, shards: int) -> int:
    """Return the shard of a key: by another hash than its partition, as beside a real broker."""
    return crc32(key) // PARTITIONS % shards
