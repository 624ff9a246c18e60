"""Rebuild publishes what a gateway has published, from objects alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage, StoredBytes
from operators.errors import Rejected, Unavailable
from operators.store.commands import COMMANDS
from operators.store.policies import POLICIES
from operators.store.ports import Position
from pipelines.batch.journal import Finished, JournalReader
from pipelines.batch.rebuild.work import Rebuild
from pipelines.batch.running import CountingJournal, Shift
from pipelines.batch.selection import Selection
from pipelines.batch.servers import BatchServers
from schemas.events import Event, InstanceQuarantined, InstanceStored, StudyCommand, TransferEnded
from schemas.objects import Bucket
from schemas.topics import (
    INSTANCE_QUARANTINED,
    INSTANCE_STORED,
    POLICY_CHANGED,
    STUDY_COMMAND,
    TOPICS,
    TRANSFER_ENDED,
    Topic,
)
from tests.support.worlds.commands import DELETED
from tests.support.worlds.intake import CT, EXPLICIT, IntakeWorld
from tests.support.worlds.policies import policy

EVERYTHING = Selection()
STUDIES = {"1.2.3": 4, "1.2.4": 3, "1.2.5": 1}


@dataclass
class Rebuilt:
    """A rebuild into a new event log, as often as it is run, with the journal of one run."""

    store: MemoryObjectStore
    folder: Path
    events: MemoryEventLog = field(default_factory=MemoryEventLog)

    def run(self, selection: Selection = EVERYTHING, patience_s: float = 0) -> None:
        @asynccontextmanager
        async def opened() -> AsyncIterator[BatchServers]:
            yield BatchServers(self.store, self.events)

        work = Rebuild(opened, timedelta(days=30), at_once=4, patience_s=patience_s)
        with CountingJournal(self.folder) as journal:
            asyncio.run(work(Shift(selection, (0, 1), journal.finished, journal)))

    @property
    def finished(self) -> dict[str, Finished]:
        entries = JournalReader(self.folder).read()
        return {entry.prefix: entry for entry in entries if isinstance(entry, Finished)}

    @property
    def left_out(self) -> dict[str, str]:
        return {key: why for entry in self.finished.values() for key, why in entry.left_out.items()}


@dataclass
class RecordingLog(MemoryEventLog):
    """A log that also keeps all events in the order in which they came."""

    published: list[Event] = field(default_factory=list)

    async def publish(self, topic: Topic, event: Event) -> Position:
        self.published.append(event)
        return await super().publish(topic, event)


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    """A gateway that has received three studies in two transfers, and refused one instance."""
    (tmp_path / "intake").mkdir()
    world = IntakeWorld(tmp_path / "intake")
    for uids in (["1.2.3", "1.2.4"], ["1.2.5"]):
        gateway = world.gateway()
        for study_uid in uids:
            for number in range(STUDIES[study_uid]):
                gateway.accept(number + 10 * int(study_uid[-1]), study_uid)
        if uids == ["1.2.5"]:
            refused = gateway.acceptance.receive(CT, "1.2.9", EXPLICIT)
            refused.body.write(memoryview(b"no data set"))
            with pytest.raises(Rejected):
                gateway.accept_incoming(refused)
        gateway.transfer.complete()
        asyncio.run(gateway.outbox.settle())
    return world


@pytest.fixture
def rebuilt(world: IntakeWorld, tmp_path: Path) -> Rebuilt:
    (tmp_path / "run").mkdir()
    return Rebuilt(world.store, tmp_path / "run")


def ordered(log: MemoryEventLog, topic: Topic) -> list[Event]:
    return sorted(log.events(topic), key=lambda event: event.event_id)


@pytest.mark.parametrize("topic", [INSTANCE_STORED, INSTANCE_QUARANTINED], ids=lambda topic: topic.name)
def test_the_events_of_all_objects_are_those_that_the_gateway_has_published(
    world: IntakeWorld, rebuilt: Rebuilt, topic: Topic
) -> None:
    rebuilt.run()

    assert ordered(rebuilt.events, topic) == ordered(world.events, topic) != []


def test_each_transfer_of_a_study_ends_as_rebuilt_with_its_instances_and_no_later_than_before(
    world: IntakeWorld, rebuilt: Rebuilt
) -> None:
    rebuilt.run()

    before = {
        event.event_id: event for event in world.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)
    }
    after = [event for event in rebuilt.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
    assert {end.study_uid: end.instances for end in after} == STUDIES
    for end in after:
        real = before[end.event_id]
        assert end.outcome == "rebuilt"
        assert end.occurred_at < real.occurred_at
        assert (end.instances, end.size_bytes, end.calling_ae) == (real.instances, real.size_bytes, real.calling_ae)


def test_commands_come_before_the_instances_of_their_study(rebuilt: Rebuilt) -> None:
    asyncio.run(rebuilt.store.put(Bucket.HOT, COMMANDS.upload_of(DELETED)))
    rebuilt.events = log = RecordingLog()

    rebuilt.run(Selection(study_uid="1.2.3"))

    assert [type(event) for event in log.published] == [StudyCommand, *[InstanceStored] * 4, TransferEnded]
    assert log.published[0] == DELETED


@dataclass
class BurstLog(MemoryEventLog):
    """A log that notes how many events came before it acknowledged any of them."""

    bursts: list[int] = field(default_factory=list)
    waiting: int = 0

    async def publish(self, topic: Topic, event: Event) -> Position:
        self.waiting += 1
        await asyncio.sleep(0)
        if self.waiting:
            self.bursts.append(self.waiting)
            self.waiting = 0
        return await super().publish(topic, event)


@pytest.mark.parametrize(("instances", "bursts"), [(40, [41]), (130, [100, 31])])
def test_the_events_of_a_study_and_its_transfers_go_to_the_broker_together(
    world: IntakeWorld, rebuilt: Rebuilt, instances: int, bursts: list[int]
) -> None:
    gateway = world.gateway()
    for number in range(instances):
        gateway.accept(100 + number, "1.2.7")
    rebuilt.events = log = BurstLog()

    rebuilt.run(Selection(study_uid="1.2.7"))

    assert log.bursts == bursts


def test_the_newest_version_of_each_policy_is_published(rebuilt: Rebuilt) -> None:
    versions = [policy(version=version) for version in (1, 2, 3)]
    for each in versions:
        asyncio.run(rebuilt.store.put(Bucket.HOT, POLICIES.upload_of(each)))

    rebuilt.run()

    assert rebuilt.events.events(POLICY_CHANGED) == versions[-1:]


def test_objects_that_have_no_event_are_named_and_stop_nothing(rebuilt: Rebuilt) -> None:
    store = rebuilt.store
    damaged = next(key for bucket, key in store.objects if bucket is Bucket.HOT)
    store.damage(Bucket.HOT, damaged, "no metadata")
    unreadable = next(key for bucket, key in store.objects if "1.2.4" in key)
    store.damage(Bucket.HOT, unreadable, "unreadable")
    foreign = ("local/1.2.3/notes.txt", "local/notes/readme.txt", "local/1.2.3/_commands/x.json")
    for key in foreign:
        store.objects[Bucket.HOT, key] = StoredBytes(b"{}", {"any": "thing"})
    store.objects[Bucket.QUARANTINE, "local/x"] = StoredBytes(b"", {})

    rebuilt.run()

    assert rebuilt.left_out == {
        damaged: "no-envelope",
        unreadable: "object-unreadable",
        "local/1.2.3/notes.txt": "foreign-key",
        "local/notes/readme.txt": "foreign-key",
        "local/1.2.3/_commands/x.json": "command-unreadable",
        "local/x": "foreign-key",
    }
    assert len(rebuilt.events.events(INSTANCE_STORED)) == sum(STUDIES.values()) - 2


@pytest.mark.parametrize("bucket", [Bucket.WARM, Bucket.COLD])
def test_objects_in_other_tiers_are_rebuilt_too(world: IntakeWorld, rebuilt: Rebuilt, bucket: Bucket) -> None:
    world.move(bucket)

    rebuilt.run()

    assert ordered(rebuilt.events, INSTANCE_STORED) == ordered(world.events, INSTANCE_STORED)


def test_an_object_that_is_in_two_tiers_has_one_event(rebuilt: Rebuilt) -> None:
    for (bucket, key), held in list(rebuilt.store.objects.items()):
        if bucket is Bucket.HOT:
            rebuilt.store.objects[Bucket.WARM, key] = held

    rebuilt.run()

    assert len(rebuilt.events.events(INSTANCE_STORED)) == sum(STUDIES.values())


class Killed(Exception):
    """The end of a process."""


@dataclass
class KilledLog(MemoryEventLog):
    """A log whose process is killed at the event of this number."""

    left: int = 0

    async def publish(self, topic: Topic, event: Event) -> Position:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return await super().publish(topic, event)


@pytest.mark.parametrize("killed_at", range(12))
def test_a_run_that_is_killed_anywhere_repeats_one_study_at_most(
    world: IntakeWorld, rebuilt: Rebuilt, killed_at: int
) -> None:
    rebuilt.events = KilledLog(left=killed_at)
    with pytest.raises(Killed):
        rebuilt.run()
    first = rebuilt.events
    rebuilt.events = MemoryEventLog(records=dict(first.records))

    rebuilt.run()

    everything = [event for topic in TOPICS for event in rebuilt.events.events(topic)]
    repeated = [event for event, count in Counter(event.event_id for event in everything).items() if count > 1]
    studies = {getattr(event, "study_uid", "") for event in everything if event.event_id in repeated}
    assert len(studies) <= 1
    assert {event.event_id for event in world.events.events(INSTANCE_STORED)} <= {each.event_id for each in everything}


def test_a_finished_run_publishes_nothing_more(rebuilt: Rebuilt) -> None:
    rebuilt.run()
    rebuilt.events = MemoryEventLog()
    rebuilt.run()

    assert rebuilt.events.records == {}


@pytest.mark.parametrize("server", ["store", "events"])
def test_a_server_that_stays_away_ends_the_work(rebuilt: Rebuilt, server: str) -> None:
    getattr(rebuilt, server).outage = Outage.REFUSES

    with pytest.raises(Unavailable):
        rebuilt.run()


@dataclass
class RecoveringLog(MemoryEventLog):
    """A log that refuses the fifth event, once."""

    left: int = 4

    async def publish(self, topic: Topic, event: Event) -> Position:
        self.left -= 1
        if self.left == -1:
            raise Unavailable("broker")
        return await super().publish(topic, event)


def test_a_server_that_comes_back_is_waited_for(world: IntakeWorld, rebuilt: Rebuilt) -> None:
    rebuilt.events = RecoveringLog()

    with capture_logs() as logs:
        rebuilt.run(patience_s=60)

    # Who looks at a run that does not move is told what it waits for, once.
    assert [(entry["event"], entry["server"]) for entry in logs] == [("rebuild_waits", "broker")]
    ids = {event.event_id for event in rebuilt.events.events(INSTANCE_STORED)}
    assert ids == {event.event_id for event in world.events.events(INSTANCE_STORED)}


def test_a_study_alone_is_rebuilt_without_policies_and_quarantine(rebuilt: Rebuilt) -> None:
    asyncio.run(rebuilt.store.put(Bucket.HOT, POLICIES.upload_of(policy())))

    rebuilt.run(Selection(study_uid="1.2.4"))

    assert set(rebuilt.finished) == {"local/1.2.4/"}
    assert {name for name, _ in rebuilt.events.records} == {INSTANCE_STORED.name, TRANSFER_ENDED.name}


def test_what_is_kept_aside_of_damaged_objects_has_no_event(rebuilt: Rebuilt) -> None:
    key = f"local/damaged/{'a' * 64}/{'b' * 64}"
    rebuilt.store.objects[Bucket.QUARANTINE, key] = StoredBytes(b"x", {})

    rebuilt.run()

    assert key not in rebuilt.left_out
    assert all(isinstance(each, InstanceQuarantined) for each in rebuilt.events.events(INSTANCE_QUARANTINED))


def test_what_is_done_is_counted(rebuilt: Rebuilt) -> None:
    asyncio.run(rebuilt.store.put(Bucket.HOT, COMMANDS.upload_of(replace(DELETED, study_uid="1.2.5"))))

    rebuilt.run()

    assert rebuilt.finished["local/1.2.5/"].counts == {
        "studies": 1,
        "objects": 2,
        "commands": 1,
        "instances": 1,
        "transfers": 1,
    }
    assert rebuilt.events.events(STUDY_COMMAND)
