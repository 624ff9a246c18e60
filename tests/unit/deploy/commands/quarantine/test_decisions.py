"""An operator releases or discards an object in quarantine, with the real STOW-RS door and servers in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.commands.quarantine.decisions import DecisionPorts, discard, release
from deploy.commands.stow import StowReply
from deploy.errors import Failed
from gateway.intake.transfer import Sender
from operators.catalog.rows import QuarantineRow
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.dicom.part10 import split_part10
from operators.errors import Rejected, Unavailable
from operators.store.ports import Position
from schemas.events import Event, InstanceQuarantined, InstanceStored
from schemas.objects import Bucket
from schemas.topics import Topic
from tests.support.worlds.catalog_histories import numbered, run
from tests.support.worlds.reading import CT, part10
from tests.support.worlds.stow import StowWorld, multipart, stow_world

EXPLICIT = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
GOOD = part10()
NO_UID = part10(SOPInstanceUID="1.2.3.1.8").replace(b"1.2.3.1.8\0", b"1.2/3.1.8\0")
NOT_PART10 = GOOD[132:]

Decide = Callable[[DecisionPorts, QuarantineRow], Awaitable[str]]


@dataclass
class World:
    """An archive in memory: its STOW-RS door, its catalog, and an operator of it."""

    door: StowWorld
    folder: Path
    hidden: MemoryHiddenRows = field(default_factory=MemoryHiddenRows)

    async def refuse_over_dimse(self, sop_class: str, sop_uid: str, file: bytes) -> None:
        """Send a file's data set with a C-STORE command that names another SOP class or instance."""
        acceptance = self.door.intake.acceptance
        arrival = acceptance.receive(sop_class, sop_uid, EXPLICIT)
        arrival.body.write(memoryview(file)[split_part10(file).prefix_length :])
        with pytest.raises(Rejected):
            await acceptance.accept(self.door.intake.new_transfer("local", Sender(calling_ae="CT1")), arrival)

    def row(self) -> QuarantineRow:
        """Catalog every event published so far, and return the one row."""
        catalog = MemoryCatalog(tables=self.hidden.tables)
        run(catalog, [numbered(self.door.published(InstanceQuarantined))])
        (row,) = self.hidden.quarantined(None, 9)
        return row

    async def release(self) -> str:
        return await release(self.ports(), self.row())

    def ports(self, **others: Any) -> DecisionPorts:
        loop = asyncio.get_running_loop()

        def store_file(prefix: bytes, data_set: memoryview) -> StowReply:
            body = multipart(prefix + bytes(data_set))
            response = asyncio.run_coroutine_threadsafe(self.door.post(body), loop).result(10)
            return StowReply(response.status, response.body)

        return replace(DecisionPorts(self.door.store, self.door.events, store_file, "local", self.folder), **others)


def with_world(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with stow_world(folder) as door:
            await test(World(door, folder))

    asyncio.run(opened())


def test_an_object_sent_under_another_name_is_released_under_its_own(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.refuse_over_dimse(MR, "1.2.3.1.1", GOOD)
        assert world.row().reason == "sop-class-mismatch"
        message = await world.release()

        (stored,) = world.door.published(InstanceStored)
        row = world.row()
        assert (stored.sop_uid, stored.sop_class, stored.data_hash) == ("1.2.3.1.1", CT, row.data_hash)
        assert (row.state, message) == ("released", f"Released: {row.data_hash} is stored.")
        assert world.door.stored(Bucket.QUARANTINE) == []

    with_world(tmp_path, test)


@pytest.mark.parametrize("sent", [NO_UID, NOT_PART10], ids=["no-uid", "not-part-10"])
def test_an_object_that_no_door_would_store_stays_and_the_reason_is_named(tmp_path: Path, sent: bytes) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(sent))
        before = world.row()
        with pytest.raises(Failed, match=f"{before.reason}; nothing was changed.*have its sender mend it.*discard it"):
            await world.release()

        assert world.row() == before
        assert world.door.stored(Bucket.QUARANTINE) == [sent]
        assert world.door.published(InstanceStored) == []

    with_world(tmp_path, test)


def test_nothing_changes_when_the_door_refuses(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.refuse_over_dimse(MR, "1.2.3.1.1", GOOD)
        failure = b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[49153]}}]}}'
        for reply, message in (
            (StowReply(409, failure), r"409: C001 \(larger"),
            (StowReply(503, b'{"reason":"memory"}'), "503: memory"),
            (StowReply(502, b"<html>"), "502: no reason given"),
        ):
            with pytest.raises(Failed, match=message):
                await release(world.ports(store_file=lambda *_, reply=reply: reply), world.row())

        assert world.row().state == "held"
        assert len(world.door.stored(Bucket.QUARANTINE)) == 1

    with_world(tmp_path, test)


def test_an_object_is_not_released_into_another_tenant(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.refuse_over_dimse(MR, "1.2.3.1.1", GOOD)
        with pytest.raises(Failed, match="stores for tenant other"):
            await release(world.ports(tenant="other"), world.row())

    with_world(tmp_path, test)


def test_a_discarded_object_stays_discarded_even_when_the_clock_runs_behind(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        row = world.row()
        before = (row.occurred_at - timedelta(hours=2)).timestamp()
        behind = MemoryObjectStore(objects=world.door.store.objects, clock=lambda: before)
        await discard(world.ports(store=behind), row)

        assert world.row().state == "discarded"
        assert world.door.stored(Bucket.QUARANTINE) == []
        for decide in (discard, release):
            with pytest.raises(Failed, match="was discarded already"):
                await decide(world.ports(), world.row())

    with_world(tmp_path, test)


@pytest.mark.parametrize(("decide", "sent"), [(release, GOOD), (discard, NO_UID)])
def test_the_event_of_a_decision_says_who_has_made_it_and_why(tmp_path: Path, decide: Decide, sent: bytes) -> None:
    async def test(world: World) -> None:
        if sent is GOOD:
            await world.refuse_over_dimse(MR, "1.2.3.1.1", sent)
        else:
            await world.door.post(multipart(sent))
        await decide(world.ports(who="ops", why="Canary^Two was sent again"), world.row())

        held, decided = world.door.published(InstanceQuarantined)
        assert (held.who, held.why, decided.who, decided.why) == ("", "", "ops", "Canary^Two was sent again")
        assert "Canary" not in repr(decided)

    with_world(tmp_path, test)


def test_an_object_that_is_gone_from_the_store_can_be_discarded_but_not_released(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        world.door.store.objects.clear()
        with pytest.raises(Failed, match="not in the store any more"):
            await world.release()
        await discard(world.ports(), world.row())

        assert world.row().state == "discarded"

    with_world(tmp_path, test)


def test_nothing_is_discarded_while_the_broker_does_not_answer(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        row = world.row()
        world.door.events.outage = Outage.REFUSES
        with pytest.raises(Unavailable):
            await discard(world.ports(), row)
        assert world.door.stored(Bucket.QUARANTINE) == [NO_UID]
        world.door.events.outage = Outage.NONE
        await discard(world.ports(), row)

        assert world.row().state == "discarded"

    with_world(tmp_path, test)


@dataclass
class FailingEventLog(MemoryEventLog):
    """A broker that answers a check, and fails when an event is published."""

    async def publish(self, topic: Topic, event: Event) -> Position:  # noqa: ARG002 - the port's signature
        raise Unavailable("broker")


@pytest.mark.parametrize(
    ("decide", "state", "message", "left"),
    [
        (release, "released", "is stored, and also still in quarantine.*Release it again", 1),
        (discard, "discarded", "is deleted, but it is still listed: the broker.*Discard it again", 0),
    ],
    ids=["release", "discard"],
)
def test_a_decision_can_be_made_again_when_the_broker_failed_half_way(
    tmp_path: Path, decide: Decide, state: str, message: str, left: int
) -> None:
    async def test(world: World) -> None:
        await world.refuse_over_dimse(MR, "1.2.3.1.1", GOOD)
        row = world.row()
        with pytest.raises(Failed, match=message):
            await decide(world.ports(events=FailingEventLog()), row)
        assert len(world.door.stored(Bucket.QUARANTINE)) == left
        await decide(world.ports(), world.row())

        assert world.row().state == state
        assert world.door.stored(Bucket.QUARANTINE) == []

    with_world(tmp_path, test)


def test_a_release_can_be_made_again_when_the_store_failed_at_the_end(tmp_path: Path) -> None:
    @dataclass
    class UndeletingStore(MemoryObjectStore):
        async def delete(self, bucket: Bucket, key: str) -> None:  # noqa: ARG002 - the port's signature
            raise Unavailable("store")

    async def test(world: World) -> None:
        await world.refuse_over_dimse(MR, "1.2.3.1.1", GOOD)
        undeleting = UndeletingStore(objects=world.door.store.objects)
        with pytest.raises(Failed, match=r"object is still in quarantine.*Release it again"):
            await release(world.ports(store=undeleting), world.row())
        assert world.row().state == "released"
        await world.release()

        assert world.door.stored(Bucket.QUARANTINE) == []

    with_world(tmp_path, test)


def test_a_decision_is_about_the_object_in_the_store_not_about_an_older_row(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.door.post(multipart(NO_UID))
        older = world.row()
        await discard(world.ports(), older)
        await world.door.post(multipart(NO_UID))
        again = world.row()
        await discard(world.ports(), older)

        row = world.row()
        assert again.state == "held"
        assert (row.state, row.stored_at) == ("discarded", again.stored_at)
        assert again.stored_at > older.stored_at

    with_world(tmp_path, test)
