"""What a process leaves behind is finished by the next one, wherever it died; nothing is told twice differently."""

import asyncio
import base64
import errno
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.intake.accept import Acceptance, AcceptancePorts, Rebuilding, Receipt
from gateway.intake.journal import Journal
from gateway.intake.outbox import Outbox, OutboxPorts, adopt, finish, lost
from gateway.intake.quarantine import Quarantine, Rules
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.transfer import Transfer
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.errors import Rejected, Unavailable
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket, Envelope
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process died here."""


@dataclass
class Time:
    """Time that passes when someone sleeps."""

    now_s: float = 0.0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


@dataclass
class World:
    """Store and broker, which outlive gateways; a folder for journals; virtual time."""

    folder: Path
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    events: MemoryEventLog = field(default_factory=MemoryEventLog)
    time: Time = field(default_factory=Time)

    def outside(self) -> OutboxPorts:
        rebuild = Rebuilding(self.store, self.folder)
        return OutboxPorts(self.events, rebuild, heal_s=60, clock=self.time.clock, sleep=self.time.sleep)

    def gateway(self) -> "Gateway":
        return Gateway(self, Outbox.create(self.folder, self.outside()))

    def heal(self) -> int:
        """Finish what processes that are gone left; give how many files there were."""

        async def finished() -> int:
            return len(await asyncio.gather(*map(finish, lost(self.folder, self.outside()))))

        return asyncio.run(finished())

    @property
    def stored(self) -> list[InstanceStored]:
        return [event for event in self.events.events(INSTANCE_STORED) if isinstance(event, InstanceStored)]

    @property
    def ended(self) -> list[tuple[str, str, int]]:
        found = [event for event in self.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
        return sorted((event.study_uid, event.outcome, event.instances) for event in found)


def quarantine(world: World) -> Quarantine:
    return Quarantine(world.store, world.events, Rules(timedelta(days=30), 2**30, 300.0))


@dataclass
class Gateway:
    """One process's use case and outbox."""

    world: World
    outbox: Outbox

    def __post_init__(self) -> None:
        self.transfer = Transfer(self.outbox, "local", "SENDER", "FLUORO")

    def accept(self, number: int, study_uid: str = "1.2.3") -> Receipt:
        room, bounds = Room(2**20), SpoolLimits(2**20, 2**20, self.world.folder)
        acceptance = Acceptance(
            AcceptancePorts(self.world.store, self.world.events, self.outbox, quarantine(self.world), room, bounds)
        )
        arrival = acceptance.receive(CT, f"1.2.3.{number}", EXPLICIT)
        arrival.body.write(memoryview(data_set(number, study_uid)))
        return asyncio.run(acceptance.accept(self.transfer, arrival))

    def end(self) -> None:
        self.transfer.complete()

    def die(self) -> None:
        """Let the lock go and nothing else, as the kernel does for a killed process."""
        self.outbox._journal.close()


def killed_during(world: World, outside: MemoryObjectStore | MemoryEventLog, outage: Outage) -> Gateway:
    """Leave an instance in the middle of its way, of a process that is gone; then the outage is over."""
    gateway = world.gateway()
    outside.outage = outage
    with pytest.raises(Unavailable):
        gateway.accept(1)
    gateway.die()
    outside.outage = Outage.NONE
    return gateway


def data_set(number: int, study_uid: str) -> bytes:
    content = Dataset()
    content.SOPClassUID = CT
    content.SOPInstanceUID = f"1.2.3.{number}"
    content.StudyInstanceUID = study_uid
    content.SeriesInstanceUID = "1.2.3.9"
    content.Modality = "CT"
    content.Rows = content.Columns = 2
    content.BitsAllocated = 8
    content.SamplesPerPixel = 1
    content.PixelData = b"\1\2\3\4"
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, content)
    return bytes(file.getvalue())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def journals(world: World) -> list[Path]:
    return list(world.folder.glob("*.jsonl"))


async def until_empty(world: World) -> None:
    async with asyncio.timeout(10):
        while journals(world):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0)


def test_a_clean_process_leaves_no_journal(world: World) -> None:
    gateway = world.gateway()

    gateway.accept(1)
    gateway.accept(2)
    gateway.end()
    asyncio.run(gateway.outbox.settle())
    gateway.outbox.close()

    assert world.ended == [("1.2.3", "well", 2)]
    assert journals(world) == []


def killed_before_put(world: World) -> None:
    world.store.outage = Outage.REFUSES


def killed_after_put(world: World) -> None:
    world.store.outage = Outage.LOSES_ANSWER


def killed_before_publish(world: World) -> None:
    world.events.outage = Outage.REFUSES


def killed_after_publish(world: World) -> None:
    world.events.outage = Outage.LOSES_ANSWER


@pytest.mark.parametrize(
    ("kill", "instances"),
    [(killed_before_put, 1), (killed_after_put, 2), (killed_before_publish, 2), (killed_after_publish, 2)],
)
def test_a_crash_at_any_point_heals(world: World, kill: Callable[[World], None], instances: int) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    kill(world)
    with pytest.raises(Unavailable):
        gateway.accept(2)
    gateway.die()
    world.store.outage = world.events.outage = Outage.NONE

    assert world.heal() == 1

    assert len({event.event_id for event in world.stored}) == instances
    assert {event.object_key for event in world.stored} == {key for _, key in world.store.objects}
    assert world.ended == [("1.2.3", "lost", instances)]
    assert journals(world) == []


def test_a_healed_event_is_the_one_that_was_lost(world: World) -> None:
    killed_during(world, world.events, Outage.LOSES_ANSWER)

    world.heal()

    first, healed = world.stored
    assert first == healed


def test_a_put_that_lands_late_is_found(world: World) -> None:
    gateway = killed_during(world, world.store, Outage.REFUSES)
    late = world.gateway()
    objects: dict[tuple[Bucket, str], object] = {}

    class LateTime(Time):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.now_s > 30 and not objects:
                await asyncio.to_thread(late.accept, 1)
                objects.update(world.store.objects)

    world.time = LateTime()
    world.heal()

    assert world.time.now_s < 60
    assert {event.transfer_id for event in world.stored} == {gateway.transfer.transfer_id, late.transfer.transfer_id}
    assert world.ended == [("1.2.3", "lost", 1)]


def test_an_object_that_never_comes_is_given_up_after_its_time(world: World) -> None:
    killed_during(world, world.store, Outage.REFUSES)

    world.heal()

    assert 60 <= world.time.now_s <= 80
    assert world.stored == []
    assert world.ended == [("1.2.3", "lost", 0)]


def test_an_end_waits_for_what_its_transfer_left_open(world: World) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    world.events.outage = Outage.REFUSES
    with pytest.raises(Unavailable):
        gateway.accept(2)
    gateway.end()
    world.events.outage = Outage.NONE

    asyncio.run(gateway.outbox.settle())

    assert world.ended == [("1.2.3", "partial", 2)]


def test_repeats_within_a_transfer_count_once_and_each_study_has_its_end(world: World) -> None:
    gateway = world.gateway()

    receipts = [gateway.accept(1), gateway.accept(1), gateway.accept(2, "1.2.4"), gateway.accept(3)]
    gateway.end()
    asyncio.run(gateway.outbox.settle())

    assert [receipt.is_repeat for receipt in receipts] == [False, True, False, False]
    assert world.ended == [("1.2.3", "well", 2), ("1.2.4", "well", 1)]


def test_a_repeat_publishes_the_first_event_with_its_own_transfer(world: World) -> None:
    first = world.gateway().accept(1).event
    second = world.gateway().accept(1).event

    assert second.event_id == first.event_id
    assert second.stored_at == first.stored_at
    assert second.transfer_id != first.transfer_id


def test_an_object_behind_another_prefix_gives_its_own_offsets(world: World) -> None:
    ours = world.gateway().accept(1).event
    (place, held), *_ = world.store.objects.items()
    extra = b"\0" * 10
    envelope = Envelope.from_metadata(held.metadata)
    longer = envelope.to_metadata() | {
        "prefix-length": str(envelope.prefix_length + 10),
        "header-length": str(envelope.header_length + 10),
        "prefix-hash": "f" * 64,
    }
    world.store.objects[place] = type(held)(extra + held.data, longer)

    event = world.gateway().accept(1).event

    assert event.header == extra + (ours.header or b"")
    assert event.frames.offset == ours.frames.offset + 10
    assert (event.prefix_length, event.size_bytes) == (ours.prefix_length + 10, ours.size_bytes + 10)


def test_a_torn_last_line_is_no_obstacle(world: World) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.die()
    with journals(world)[0].open("ab") as file:
        file.write(b'{"kind":"inte')

    world.heal()

    assert world.ended == [("1.2.3", "lost", 1)]
    assert journals(world) == []


def test_a_journal_that_cannot_be_read_stops_nobody_and_is_kept(world: World) -> None:
    (world.folder / "strange.jsonl").write_bytes(b'{"kind":"unheard-of"}\n')

    assert world.heal() == 0

    assert [path.name for path in world.folder.iterdir()] == ["strange.unreadable"]


def test_the_journal_of_a_living_process_is_left_alone(world: World) -> None:
    gateway = world.gateway()
    gateway.accept(1)

    assert world.heal() == 0

    assert len(journals(world)) == 1
    gateway.end()


def test_a_rewritten_journal_stands_for_the_same_state(world: World) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    world.store.outage = Outage.LOSES_ANSWER
    with pytest.raises(Unavailable):
        gateway.accept(2)
    gateway.outbox._rewrite()
    gateway.die()
    world.store.outage = Outage.NONE

    world.heal()

    assert world.ended == [("1.2.3", "lost", 2)]


def test_a_disk_that_fills_up_later_loses_no_end(world: World) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.outbox._journal = Full(gateway.outbox._journal.path, 0)
    gateway.end()

    asyncio.run(gateway.outbox.settle())

    assert world.ended == [("1.2.3", "well", 1)]


def test_an_unreadable_data_set_is_kept_aside_as_it_came(world: World) -> None:
    gateway = world.gateway()
    inside = AcceptancePorts(
        world.store,
        world.events,
        gateway.outbox,
        quarantine(world),
        Room(2**20),
        SpoolLimits(2**20, 2**20, world.folder),
    )
    acceptance = Acceptance(inside)
    arrival = acceptance.receive(CT, "not a uid", EXPLICIT)
    arrival.body.write(memoryview(b"no data set"))

    with pytest.raises(Rejected):
        asyncio.run(acceptance.accept(gateway.transfer, arrival))

    ((bucket, key),) = world.store.objects
    assert (bucket, key) == (Bucket.QUARANTINE, f"local/{arrival.body.data_hash}")
    assert world.store.objects[bucket, key].data == b"no data set"
    assert world.stored == []


def test_a_full_disk_refuses_before_anything_is_stored(world: World) -> None:
    gateway = world.gateway()
    gateway.outbox._journal = Full(gateway.outbox._journal.path, 0)

    with pytest.raises(Unavailable):
        gateway.accept(1)

    assert world.store.objects == {}


class Full(Journal):
    """A journal on a disk without room."""

    def append(self, line: dict[str, object]) -> None:  # noqa: ARG002
        raise OSError(28, "no space")

    def replace(self, lines: Iterable[dict[str, object]]) -> None:  # noqa: ARG002
        raise OSError(28, "no space")


def test_the_crc_that_the_store_checks_is_the_whole_objects(world: World) -> None:
    world.gateway().accept(1)

    ((_, held),) = world.store.objects.items()
    crc = base64.b64encode(int(google_crc32c.value(held.data)).to_bytes(4, "big"))
    assert len(crc) == 8
    assert held.data[128:132] == b"DICM"
    assert held.data.endswith(data_set(1, "1.2.3"))


def test_a_spool_that_is_full_for_a_while_does_not_end_healing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.ENOSPC, "full")] * 3)
    real = tempfile.TemporaryFile

    def sometimes_full(**given: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return real(**given)

    monkeypatch.setattr("gateway.intake.accept.tempfile.TemporaryFile", sometimes_full)

    assert world.heal() == 1
    assert len(world.stored) == 1


@pytest.mark.parametrize("line", [b"[1]", b"5", b'{"kind":"begun","transfer":"t","tenant":"l","began_at":null}'])
def test_a_line_that_is_none_of_ours_is_set_aside_for_a_person(world: World, line: bytes) -> None:
    (world.folder / "a.jsonl").write_bytes(line + b"\n")

    assert world.heal() == 0
    assert list(world.folder.glob("*.unreadable"))


def test_what_a_process_leaves_is_taken_by_one_that_lives(world: World) -> None:
    async def beside(kill: Callable[[], object]) -> None:
        task = asyncio.create_task(adopt(world.folder, world.outside()))
        await asyncio.sleep(0)
        await asyncio.to_thread(kill)
        await until_empty(world)
        task.cancel()

    asyncio.run(beside(lambda: killed_during(world, world.events, Outage.REFUSES)))

    assert world.ended == [("1.2.3", "lost", 1)]


def test_a_folder_that_cannot_be_looked_at_for_a_while_stops_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.EMFILE, "too many")] * 3)
    real = Journal.ownerless

    def sometimes(folder: Path) -> Iterable[Journal]:
        for refusal in refusals:
            raise refusal
        return real(folder)

    monkeypatch.setattr("gateway.intake.outbox.Journal.ownerless", sometimes)

    async def adopting() -> None:
        task = asyncio.create_task(adopt(world.folder, world.outside()))
        await until_empty(world)
        task.cancel()

    asyncio.run(adopting())

    assert world.ended == [("1.2.3", "lost", 1)]
