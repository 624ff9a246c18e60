"""A living process finishes what a dead process left undone, and publishes no event with different content."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time, thread_time

import pytest
from structlog.testing import capture_logs

from gateway.intake.outbox.adoption import Adoption
from gateway.intake.outbox.backlog import AT_ONCE
from gateway.intake.outbox.ledger import AnyIntent
from gateway.intake.outbox.outbox import MOST_WAIT_S, Outbox, RebuiltEvent
from gateway.intake.rebuild import Rebuilder
from operators.connectors.memory.stores import Outage
from operators.errors import Rejected, Unavailable
from schemas.events import InstanceStored
from schemas.objects import Bucket, Identity
from schemas.telemetry import GATEWAY_OUTBOX_TROUBLE
from tests.support.worlds.intake import (
    FullJournal,
    IntakeWorld,
    VirtualTime,
    envelope_of,
    killed_during,
)


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


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


def test_a_transfer_that_stored_nothing_has_its_end_also_after_a_kill(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.transfer.count_refused("too-large")
    gateway.transfer.complete()
    gateway.die()
    world.heal()

    assert world.ended == [("", "well", 0)]
    assert world.journals == []


def test_a_last_line_that_was_cut_short_is_ignored(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.die()
    with world.journals[0].open("ab") as file:
        file.write(b'{"kind":"inte')

    world.heal()

    assert world.ended == [("1.2.3", "lost", 1)]
    assert world.journals == []


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
    asyncio.run(gateway.outbox._ledger.rewrite())
    gateway.die()
    world.store.outage = Outage.NONE

    world.heal()

    assert world.ended == [("1.2.3", "lost", 2)]


def test_a_disk_that_fills_up_after_a_transfer_began_loses_no_end(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.accept(1)
    gateway.outbox._ledger.journal = FullJournal(gateway.outbox._ledger.journal.path, 0)
    gateway.transfer.complete()

    asyncio.run(gateway.outbox.settle())

    assert world.ended == [("1.2.3", "well", 1)]


def left_open(world: IntakeWorld, count: int, of: int = 10) -> Outbox:
    """Return the outbox of a process with `count` failed intents of `of` transfers that have ended."""
    outbox = Outbox.create(world.folder, world.outbox_ports())
    transfers = [f"t-{number}" for number in range(of)]
    for transfer_id in transfers:
        outbox.begin(transfer_id, "local", 0.0)
    for number in range(count):
        transfer_id = transfers[number % of]
        identity = Identity("local", f"1.2.{number % 10}", "1.2.9", f"1.2.3.{number}", f"{number:064x}")
        outbox.failed(outbox.intend(transfer_id, identity, identity.key, envelope_of(transfer_id)))
    for transfer_id in transfers:
        outbox.end(transfer_id, "partial")
    return outbox


def damage(world: IntakeWorld, number: int, data: bytes) -> str:
    """Replace the bytes of the object of an instance; return its key."""
    ((bucket, key),) = (name for name in world.store.objects if f"/1.2.3.{number}_" in name[1])
    world.store.objects[bucket, key] = replace(world.store.objects[bucket, key], data=data)
    return key


def two_killed_before_their_events(world: IntakeWorld) -> None:
    """Leave two objects without events, each of a transfer of its own."""
    world.events.outage = Outage.REFUSES
    for number, study_uid in ((1, "1.2.3"), (2, "1.2.4")):
        gateway = world.gateway()
        with pytest.raises(Unavailable):
            gateway.accept(number, study_uid)
        gateway.die()
    world.events.outage = Outage.NONE


def test_an_empty_object_keeps_no_other_from_its_event(world: IntakeWorld) -> None:
    two_killed_before_their_events(world)
    damage(world, 1, b"")

    world.heal()

    assert [event.study_uid for event in world.stored] == ["1.2.4"]
    assert ("1.2.4", "lost", 1) in world.ended


def test_an_unexpected_error_of_one_intent_is_said_once_and_holds_up_no_other(world: IntakeWorld) -> None:
    gateway = world.gateway()
    world.events.outage = Outage.REFUSES
    for number in (1, 2, 3):
        with pytest.raises(Unavailable):
            gateway.accept(number)
    world.events.outage = Outage.NONE
    (odd,) = [key for _, key in world.store.objects if "/1.2.3.2_" in key]
    real = gateway.outbox._ports.rebuild
    is_mended, tries = False, 0

    async def rebuild(intent: AnyIntent) -> RebuiltEvent | None:
        nonlocal tries
        tries += 1
        if intent.key == odd and not is_mended:
            raise ZeroDivisionError
        return await real(intent)

    gateway.outbox._ports = replace(gateway.outbox._ports, rebuild=rebuild)
    counted = GATEWAY_OUTBOX_TROUBLE.labels("error")._value.get()

    async def served() -> None:
        nonlocal is_mended
        running = asyncio.ensure_future(gateway.outbox.run())
        async with asyncio.timeout(10):
            while tries < 20:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
            assert len(world.stored) == 2
            is_mended = True
            gateway.transfer.complete()
            while not gateway.outbox.is_empty:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
        running.cancel()

    with capture_logs() as logs:
        asyncio.run(served())

    said = [(entry["key"], entry["error"]) for entry in logs if entry["event"] == "outbox_entry_failed"]
    assert said == [(odd, "ZeroDivisionError")]
    assert GATEWAY_OUTBOX_TROUBLE.labels("error")._value.get() == counted + 1
    assert world.ended == [("1.2.3", "partial", 3)]
    assert world.time.now_s > 100


def test_an_object_that_can_have_no_event_is_said_once_and_its_intent_is_kept_aside(world: IntakeWorld) -> None:
    two_killed_before_their_events(world)
    key, good = next((key, kept.data) for (_, key), kept in world.store.objects.items() if "/1.2.3.1_" in key)

    async def rejected(intent: AnyIntent) -> RebuiltEvent | None:
        if intent.key == key and world.store.objects[Bucket.HOT, key].data != good:
            raise Rejected("unreadable")
        return await Rebuilder(world.tiers, world.folder)(intent)

    world.rebuild = rejected
    damage(world, 1, b"not an instance")
    with capture_logs() as logs:
        world.heal()

    assert [event.study_uid for event in world.stored] == ["1.2.4"]
    (aside,) = world.folder.glob("*.aside")
    said = [entry for entry in logs if entry["event"] == "healing_rejected"]
    assert [(entry["key"], entry["reason"], entry["kept_in"]) for entry in said] == [(key, "unreadable", aside.name)]

    damage(world, 1, good)
    renamed = aside.rename(aside.with_suffix(".jsonl"))
    assert renamed.name != f"{aside.stem.removeprefix('kept-')}.jsonl"
    world.heal()
    assert sorted(event.study_uid for event in world.stored) == ["1.2.3", "1.2.4"]
    assert list(world.folder.iterdir()) == []


@pytest.mark.parametrize("count", [20, 2000])
def test_an_outage_costs_the_same_work_for_any_number_of_open_intents(world: IntakeWorld, count: int) -> None:
    looks = 0

    async def unanswered(_: AnyIntent) -> InstanceStored | None:
        nonlocal looks
        looks += 1
        raise Unavailable("store")

    world.rebuild = unanswered
    outbox = left_open(world, count)
    world.events.outage = Outage.REFUSES

    async def outage() -> None:
        running = asyncio.ensure_future(outbox.run())
        while world.time.now_s < 1000:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(outage())

    assert looks == AT_ONCE


def test_what_failed_during_an_outage_is_published_soon_after_it(world: IntakeWorld) -> None:
    gateway = world.gateway()
    world.events.outage = Outage.REFUSES
    for number in range(50):
        with pytest.raises(Unavailable):
            gateway.accept(number)
    gateway.transfer.complete()

    async def outage() -> float:
        running = asyncio.ensure_future(gateway.outbox.run())
        while world.time.now_s < 1000:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        ended_at, world.events.outage = world.time.now_s, Outage.NONE
        async with asyncio.timeout(10):
            while not gateway.outbox.is_empty:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
        running.cancel()
        return world.time.now_s - ended_at

    assert asyncio.run(outage()) <= 2 * MOST_WAIT_S
    assert world.ended == [("1.2.3", "partial", 50)]


# 60 MiB for 100,000 intents, each of a transfer of its own.
@pytest.mark.parametrize(("transfers", "most_bytes"), [(10, 300), (5000, 629)])
def test_an_open_intent_takes_little_memory(world: IntakeWorld, transfers: int, most_bytes: int) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        outbox = left_open(world, 5000, of=transfers)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert not outbox.is_empty
    assert (after - before) / 5000 < most_bytes


def test_collecting_garbage_does_not_walk_through_open_transfers(world: IntakeWorld) -> None:
    def walked() -> int:
        gc.collect()
        return len(gc.get_objects())

    before = walked()
    outbox = left_open(world, 2000, of=2000)

    assert not outbox.is_empty
    assert walked() - before < 200


def test_a_live_close_costs_the_same_among_many_open_intents(world: IntakeWorld) -> None:
    def cost_of_closing(among: int) -> float:
        outbox = left_open(world, among)
        costs = []
        for number in range(50):
            outbox.begin(f"live-{number}", "local", 0.0)
            identity = Identity("local", "1.2.77", "1.2.9", f"1.2.4.{number}", "0" * 64)
            intent = outbox.intend(f"live-{number}", identity, identity.key, envelope_of(f"live-{number}"))
            begun = process_time()
            outbox.done(intent)
            outbox.end(f"live-{number}", "well")
            asyncio.run(outbox._end_round())
            costs.append(process_time() - begun)
        return min(costs)

    assert cost_of_closing(20_000) < 10 * cost_of_closing(20)


@pytest.fixture
def loaded_is_frozen() -> Iterator[None]:
    """Leave what is loaded out of collections of garbage, as a gateway does."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("loaded_is_frozen")
def test_no_turn_of_the_event_loop_walks_through_all_open_intents(world: IntakeWorld) -> None:
    """20,000 intents, each of its own transfer, are retried, rewritten and read again: a turn handles about a hundred."""
    turns: list[float] = []

    async def watched(work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            begun = thread_time()
            await asyncio.sleep(0)
            turns.append(thread_time() - begun)
        await task

    outbox = left_open(world, 20_000, of=20_000)
    asyncio.run(watched(outbox._retry_round()))
    asyncio.run(watched(outbox._ledger.rewrite()))
    outbox.close()
    (other,) = Adoption(world.folder, world.outbox_ports()).ownerless()
    asyncio.run(watched(other.inherit()))

    # 0.6 s are spent in all.
    assert max(turns) < 0.05
