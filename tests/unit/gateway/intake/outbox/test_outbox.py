"""A living process finishes what a dead process left undone, and publishes no event with different content."""

import asyncio
import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.outbox import adopt
from operators.connectors.memory.stores import Outage
from operators.errors import Unavailable
from tests.support.worlds.intake import FullJournal, IntakeWorld, VirtualTime, killed_during

if TYPE_CHECKING:
    from schemas.objects import Bucket


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


async def until_empty(world: IntakeWorld) -> None:
    async with asyncio.timeout(10):
        while world.journals:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


def test_a_process_that_has_finished_its_work_leaves_no_journal(world: IntakeWorld) -> None:
    gateway = world.gateway()

    gateway.accept(1)
    gateway.accept(2)
    gateway.transfer.complete()
    asyncio.run(gateway.outbox.settle())
    gateway.outbox.close()

    assert world.ended == [("1.2.3", "well", 2)]
    assert world.journals == []


def killed_before_put(world: IntakeWorld) -> None:
    world.store.outage = Outage.REFUSES


def killed_after_put(world: IntakeWorld) -> None:
    world.store.outage = Outage.LOSES_ANSWER


def killed_before_publish(world: IntakeWorld) -> None:
    world.events.outage = Outage.REFUSES


def killed_after_publish(world: IntakeWorld) -> None:
    world.events.outage = Outage.LOSES_ANSWER


@pytest.mark.parametrize(
    ("kill", "instances"),
    [(killed_before_put, 1), (killed_after_put, 2), (killed_before_publish, 2), (killed_after_publish, 2)],
)
def test_instances_of_a_process_that_was_killed_at_any_point_get_their_events(
    world: IntakeWorld, kill: Callable[[IntakeWorld], None], instances: int
) -> None:
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
    assert world.journals == []


def test_a_healed_event_equals_the_event_whose_acknowledgement_was_lost(world: IntakeWorld) -> None:
    killed_during(world, world.events, Outage.LOSES_ANSWER)

    world.heal()

    first, healed = world.stored
    assert first == healed


def test_an_object_that_appears_late_is_found(world: IntakeWorld) -> None:
    gateway = killed_during(world, world.store, Outage.REFUSES)
    late = world.gateway()
    objects: dict[tuple[Bucket, str], object] = {}

    class LateTime(VirtualTime):
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


def test_an_object_that_never_appears_is_given_up_after_late_put_s(world: IntakeWorld) -> None:
    killed_during(world, world.store, Outage.REFUSES)

    world.heal()

    assert 60 <= world.time.now_s <= 80
    assert world.stored == []
    assert world.ended == [("1.2.3", "lost", 0)]


def test_the_end_of_a_transfer_waits_for_its_open_intents(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    world.events.outage = Outage.REFUSES
    with pytest.raises(Unavailable):
        gateway.accept(2)
    gateway.transfer.complete()
    world.events.outage = Outage.NONE

    asyncio.run(gateway.outbox.settle())

    assert world.ended == [("1.2.3", "partial", 2)]


def test_repeats_within_a_transfer_count_once_and_each_study_has_its_end(world: IntakeWorld) -> None:
    gateway = world.gateway()

    receipts = [gateway.accept(1), gateway.accept(1), gateway.accept(2, "1.2.4"), gateway.accept(3)]
    gateway.transfer.complete()
    asyncio.run(gateway.outbox.settle())

    assert [receipt.is_repeat for receipt in receipts] == [False, True, False, False]
    assert world.ended == [("1.2.3", "well", 2), ("1.2.4", "well", 1)]


def test_a_last_line_that_was_cut_short_is_ignored(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.die()
    with world.journals[0].open("ab") as file:
        file.write(b'{"kind":"inte')

    world.heal()

    assert world.ended == [("1.2.3", "lost", 1)]
    assert world.journals == []


def test_a_journal_that_cannot_be_read_is_renamed_and_kept(world: IntakeWorld) -> None:
    (world.folder / "strange.jsonl").write_bytes(b'{"kind":"unheard-of"}\n')

    assert world.heal() == 0

    assert [path.name for path in world.folder.iterdir()] == ["strange.unreadable"]


def test_the_journal_of_a_living_process_is_not_taken_over(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)

    assert world.heal() == 0

    assert len(world.journals) == 1
    gateway.transfer.complete()


def test_a_rewritten_journal_leads_to_the_same_state(world: IntakeWorld) -> None:
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


def test_a_disk_that_fills_up_after_a_transfer_began_loses_no_end(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.outbox._journal = FullJournal(gateway.outbox._journal.path, 0)
    gateway.transfer.complete()

    asyncio.run(gateway.outbox.settle())

    assert world.ended == [("1.2.3", "well", 1)]


@pytest.mark.parametrize("line", [b"[1]", b"5", b'{"kind":"begun","transfer":"t","tenant":"l","began_at":null}'])
def test_a_journal_with_an_unknown_line_is_renamed_and_kept(world: IntakeWorld, line: bytes) -> None:
    (world.folder / "a.jsonl").write_bytes(line + b"\n")

    assert world.heal() == 0
    assert list(world.folder.glob("*.unreadable"))


def test_a_living_process_takes_over_the_outbox_of_a_dead_one(world: IntakeWorld) -> None:
    async def beside(kill: Callable[[], object]) -> None:
        task = asyncio.create_task(adopt(world.folder, world.outbox_ports()))
        await asyncio.sleep(0)
        await asyncio.to_thread(kill)
        await until_empty(world)
        task.cancel()

    asyncio.run(beside(lambda: killed_during(world, world.events, Outage.REFUSES)))

    assert world.ended == [("1.2.3", "lost", 1)]


def test_outboxes_are_taken_over_after_their_folder_was_unreadable_for_a_while(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.EMFILE, "too many")] * 3)
    real = Journal.ownerless

    def sometimes(folder: Path) -> Iterable[Journal]:
        for refusal in refusals:
            raise refusal
        return real(folder)

    monkeypatch.setattr("gateway.intake.outbox.outbox.Journal.ownerless", sometimes)

    async def adopting() -> None:
        task = asyncio.create_task(adopt(world.folder, world.outbox_ports()))
        await until_empty(world)
        task.cancel()

    asyncio.run(adopting())

    assert world.ended == [("1.2.3", "lost", 1)]
