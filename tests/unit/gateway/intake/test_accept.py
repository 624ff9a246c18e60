"""An instance is stored once, as it was received, and its event is published; inflating it blocks no other sender."""

import asyncio
import base64
import hashlib
import threading
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import google_crc32c
import pytest

from operators.connectors.memory.stores import MemoryObjectStore
from operators.dicom.part10 import split_part10
from operators.errors import Rejected, Unavailable
from operators.store.ports import PlainUpload, StoredObject
from schemas.events import TransferEnded
from schemas.objects import TIERS, Bucket, Envelope
from schemas.topics import TRANSFER_ENDED
from tests.support.data.elements import CODE, ITEM_END, OPEN, SEQUENCE_END, element, item
from tests.support.worlds.intake import CT, EXPLICIT, FullJournal, IntakeWorld, data_set
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import multipart, stow_world


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def test_a_repeat_publishes_the_first_event_with_its_own_transfer(world: IntakeWorld) -> None:
    first = world.gateway().accept(1).event
    second = world.gateway().accept(1).event

    assert second.event_id == first.event_id
    assert second.stored_at == first.stored_at
    assert second.transfer_id != first.transfer_id


def test_the_event_of_a_repeat_has_the_offsets_of_the_stored_object(world: IntakeWorld) -> None:
    ours = world.gateway().accept(1).event
    (location, held), *_ = world.store.objects.items()
    extra = b"\0" * 10
    envelope = Envelope.from_metadata(held.metadata)
    longer = envelope.to_metadata() | {
        "prefix-length": str(envelope.prefix_length + 10),
        "header-length": str(envelope.header_length + 10),
        "prefix-hash": hashlib.sha256(extra + held.data[: envelope.prefix_length]).hexdigest(),
    }
    world.store.objects[location] = type(held)(extra + held.data, longer)

    event = world.gateway().accept(1).event

    assert event.frames.offset == ours.frames.offset + 10
    assert event.header_length == ours.header_length + 10
    assert (event.prefix_length, event.size_bytes) == (ours.prefix_length + 10, ours.size_bytes + 10)


def test_all_that_a_gateway_writes_is_dated_by_the_store(tmp_path: Path) -> None:
    noon = datetime(2031, 11, 1, 12, tzinfo=UTC)
    world = IntakeWorld(tmp_path, store=MemoryObjectStore(clock=noon.timestamp))
    gateway = world.gateway()
    event = gateway.accept(1).event
    gateway.transfer.complete()
    asyncio.run(gateway.outbox.settle())

    (end,) = (event for event in world.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded))
    written = (event.received_at, event.stored_at, event.occurred_at, end.began_at, end.occurred_at)
    assert all(abs(moment - noon) < timedelta(hours=1) for moment in written)
    assert end.began_at < event.received_at < event.stored_at < end.occurred_at


class TimelessStore(MemoryObjectStore):
    """A store that does not tell its time, or only after `after_s`."""

    after_s: float | None = 0.0

    async def learn_time(self) -> None:
        if self.after_s is None:
            raise Unavailable("store")
        await asyncio.sleep(self.after_s)


@pytest.mark.parametrize("after_s", [None, 60.0])
def test_nothing_is_stored_before_the_stores_time_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float | None
) -> None:
    monkeypatch.setattr("gateway.intake.accept.CLOCK_S", 0.01)
    timeless = TimelessStore()
    gateway = IntakeWorld(tmp_path, store=timeless).gateway()
    timeless.after_s = after_s

    with pytest.raises(Unavailable):
        gateway.accept(1)

    assert timeless.objects == {}
    assert gateway.outbox.is_empty


def in_every_tier(folder: Path, store: MemoryObjectStore | None = None) -> IntakeWorld:
    """Return a world whose tiers are all in use."""
    return IntakeWorld(folder, store=store or MemoryObjectStore(), in_use=tuple(TIERS.values()))


@pytest.mark.parametrize("tier", [Bucket.WARM, Bucket.COLD])
def test_a_repeat_of_an_instance_that_was_moved_is_no_new_object(tmp_path: Path, tier: Bucket) -> None:
    world = in_every_tier(tmp_path)
    first = world.gateway().accept(1).event
    world.move(tier)

    repeat = world.gateway().accept(1)

    assert repeat.is_repeat
    assert list(world.store.objects) == [(tier, first.object_key)]
    assert replace(repeat.event, transfer_id="", cause=()) == replace(first, transfer_id="", cause=())


def test_a_repeat_while_an_instance_is_moved_is_no_new_object(tmp_path: Path) -> None:
    world = in_every_tier(tmp_path)
    key = world.gateway().accept(1).event.object_key
    world.store.objects[Bucket.WARM, key] = world.store.objects[Bucket.HOT, key]

    assert world.gateway().accept(1).is_repeat


class CountingStore(MemoryObjectStore):
    """A store that remembers PUTs and HEADs, and answers HEADs to the colder tiers after colder_s."""

    def __init__(self, colder_s: float = 0.0) -> None:
        super().__init__()
        self.requests: list[tuple[str, Bucket]] = []
        self.colder_s = colder_s

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.requests.append(("PUT", bucket))
        return await super().put(bucket, upload)

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        self.requests.append(("HEAD", bucket))
        await asyncio.sleep(0 if bucket is Bucket.HOT else self.colder_s)
        return await super().head(bucket, key)


def test_a_new_instance_asks_only_the_tiers_in_use(tmp_path: Path) -> None:
    hot_alone, every = IntakeWorld(tmp_path, store=CountingStore()), in_every_tier(tmp_path, CountingStore())

    for world in (hot_alone, every):
        world.gateway().accept(1)

    put = ("PUT", Bucket.HOT)
    assert hot_alone.store.requests == [put]  # type: ignore[attr-defined]
    assert every.store.requests == [("HEAD", Bucket.WARM), ("HEAD", Bucket.COLD), put]  # type: ignore[attr-defined]


def test_nothing_is_stored_before_every_tier_has_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.intake.tiers.LOOKUP_S", 0.01)
    world = in_every_tier(tmp_path, CountingStore(colder_s=60))
    gateway = world.gateway()

    with pytest.raises(Unavailable, match="slow"):
        gateway.accept(1)

    assert world.store.objects == {}
    gateway.transfer.complete()
    assert gateway.transfer.outcome == "partial"


def test_an_unreadable_data_set_is_quarantined_as_it_was_received(world: IntakeWorld) -> None:
    gateway = world.gateway()
    incoming = gateway.acceptance.receive(CT, "not a uid", EXPLICIT)
    incoming.body.write(memoryview(b"no data set"))

    with pytest.raises(Rejected):
        gateway.accept_incoming(incoming)

    ((bucket, key),) = world.store.objects
    assert (bucket, key) == (Bucket.QUARANTINE, f"local/{incoming.body.data_hash}")
    assert world.store.objects[bucket, key].data == b"no data set"
    assert world.stored == []


def test_nothing_is_stored_when_the_disk_has_no_room_for_the_intent(world: IntakeWorld) -> None:
    gateway = world.gateway()
    gateway.outbox._ledger.journal = FullJournal(gateway.outbox._ledger.journal.path, 0)

    with pytest.raises(Unavailable):
        gateway.accept(1)

    assert world.store.objects == {}


def test_the_crc_is_that_of_prefix_and_data_set(world: IntakeWorld) -> None:
    world.gateway().accept(1)

    ((_, held),) = world.store.objects.items()
    crc = base64.b64encode(int(google_crc32c.value(held.data)).to_bytes(4, "big"))
    assert len(crc) == 8
    assert held.data[128:132] == b"DICM"
    assert held.data.endswith(data_set(1, "1.2.3"))


def bomb(size_bytes: int) -> bytes:
    """Return a deflated instance that inflates to more than the archive accepts."""
    prefix = part10(transfer_syntax="1.2.840.10008.1.2.1.99")
    deflater = zlib.compressobj(9, wbits=-15)
    data = deflater.compress(bytes(size_bytes)) + deflater.flush()
    return prefix[: split_part10(prefix).prefix_length] + data


def test_large_deflated_instances_are_inflated_one_at_a_time_and_block_no_other_sender(tmp_path: Path) -> None:
    # Both are inflated to a hundred times their size, 30 MB, before they are refused.
    deflated = bomb(300 * 2**20)
    turns, threads = 0, set[str]()

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1
            threads.update(thread.name for thread in threading.enumerate() if thread.name.startswith("inflate"))

    async def test() -> tuple[int, list[bytes]]:
        async with stow_world(tmp_path) as world:
            turning = asyncio.create_task(turn())
            await world.post(multipart(part10()))
            idle = turns
            await asyncio.gather(*(world.post(multipart(deflated + bytes(extra))) for extra in range(2)))
            turning.cancel()
            return idle, world.stored(Bucket.QUARANTINE)

    idle, kept = asyncio.run(test())
    assert turns - idle > 5 * idle
    assert len(threads) == 1
    assert kept == [deflated, deflated + b"\0"]


JPEG = "1.2.840.10008.1.2.4.50"
MANY_ITEMS = element(0x0040A730, "SQ", (item(length=OPEN) + CODE + ITEM_END) * 60_000 + SEQUENCE_END, OPEN)
MANY_FRAGMENTS = element(0x00280008, "IS", b"65000 ") + element(
    0x7FE00010, "OB", item() + item(b"ab\xff\xd9") * 260_000 + SEQUENCE_END, OPEN
)


def large(content: bytes, transfer_syntax: str, *, is_deflated: bool = False) -> bytes:
    """Return a Part 10 file of an ordinary data set without pixels, and this content after it."""
    ordinary = part10(transfer_syntax=transfer_syntax, frames=[b"ab"] if transfer_syntax == JPEG else None)
    split = split_part10(ordinary)
    data = data_set(1, "1.2.3").partition(b"\xe0\x7f\x10\0")[0] + content
    if is_deflated:
        deflater = zlib.compressobj(9, wbits=-15)
        data = deflater.compress(data) + deflater.flush() + bytes(len(data) // 90)
    return ordinary[: split.prefix_length] + data


LARGE = {
    "items": large(MANY_ITEMS, EXPLICIT),
    "fragments": large(MANY_FRAGMENTS, JPEG),
    "deflated items": large(MANY_ITEMS, "1.2.840.10008.1.2.1.99", is_deflated=True),
}


async def longest_turn_s(folder: Path, whole: bytes) -> float:
    """Return the CPU seconds of the event loop's longest turn while it stores an instance."""
    longest_s = 0.0

    async def turn() -> None:
        nonlocal longest_s
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began_s)

    async with stow_world(folder) as world, asyncio.TaskGroup() as group:
        turning = group.create_task(turn())
        assert (await world.post(multipart(whole))).status in {200, 202}
        turning.cancel()
    return longest_s


@pytest.mark.parametrize("case", LARGE)
def test_a_large_header_holds_the_event_loop_for_less_than_50_ms(tmp_path: Path, case: str) -> None:
    assert any(asyncio.run(longest_turn_s(tmp_path, LARGE[case])) < 0.05 for _ in range(3))
