"""A repeat is acknowledged only when the object under its key is whole; good bytes are never dropped for damaged ones."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.intake.accept import Receipt
from operators.connectors.memory.stores import DAMAGES, MemoryObjectStore, Outage
from operators.errors import Unavailable
from operators.store.ports import PlainUpload, StoredObject, Upload
from schemas.events import InstanceStored
from schemas.objects import TIERS, Bucket
from schemas.telemetry import GATEWAY_DAMAGED
from tests.support.worlds.intake import GatewayProcess, IntakeWorld


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def stored_and_damaged(world: IntakeWorld, how: str = "altered") -> InstanceStored:
    """Store instance 1, and damage its object; return its event."""
    first = world.gateway().accept(1).event
    world.store.damage(Bucket.HOT, first.object_key, how)
    return first


def without_transfer(event: InstanceStored) -> InstanceStored:
    return replace(event, transfer_id="", cause=())


def object_of(world: IntakeWorld, event: InstanceStored, bucket: Bucket = Bucket.HOT) -> bytes:
    return world.store.objects[bucket, event.object_key].data


def aside(world: IntakeWorld) -> dict[str, bytes]:
    """Return what is in the quarantine."""
    return {key: held.data for (bucket, key), held in world.store.objects.items() if bucket is Bucket.QUARANTINE}


def counted(reason: str) -> float:
    return float(GATEWAY_DAMAGED.labels(reason)._value.get())


# What is found of each damage, and how much of the object's bytes can be kept aside.
FOUND: dict[str, tuple[str, Callable[[bytes, bytes], bool]]] = {
    "altered": ("object-altered", lambda kept, good: len(kept) == len(good) and kept != good),
    "short": ("object-altered", lambda kept, good: kept == good[: len(good) // 2]),
    "empty": ("object-altered", lambda kept, _: kept == b""),
    "unreadable": ("object-unreadable", lambda kept, _: kept == b""),
    "broken off": ("object-unreadable", lambda kept, good: kept == good[: len(good) // 2]),
    "no metadata": ("no-envelope", lambda kept, good: kept == good),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_object_is_kept_aside_and_replaced_by_the_bytes_that_come_again(world: IntakeWorld, how: str) -> None:
    first = world.gateway().accept(1).event
    good = object_of(world, first)
    world.store.damage(Bucket.HOT, first.object_key, how)
    reason, is_kept = FOUND[how]
    before = counted(reason)

    repeat = world.gateway().accept(1)

    assert repeat.is_repeat
    assert object_of(world, first) == good
    ((key, kept),) = aside(world).items()
    assert key.startswith(f"local/damaged/{first.data_hash}/")
    assert is_kept(kept, good)
    assert counted(reason) == before + 1
    assert repeat.event.event_id == first.event_id


@pytest.mark.parametrize("how", sorted(DAMAGES.keys() - {"no metadata"}))
def test_the_event_of_a_replacement_is_the_first_event(world: IntakeWorld, how: str) -> None:
    first = stored_and_damaged(world, how)

    repeat = world.gateway().accept(1)

    assert without_transfer(repeat.event) == without_transfer(first)
    stored = asyncio.run(world.store.head(Bucket.HOT, first.object_key))
    assert stored is not None
    assert (stored.envelope.stored_at, stored.envelope.transfer_id) == (first.stored_at, first.transfer_id)


def test_a_whole_object_is_neither_replaced_nor_kept_aside(world: IntakeWorld) -> None:
    first = world.gateway().accept(1).event
    held = world.store.objects[Bucket.HOT, first.object_key]

    world.gateway().accept(1)

    assert world.store.objects == {(Bucket.HOT, first.object_key): held}


@pytest.mark.parametrize("tier", [Bucket.WARM, Bucket.COLD])
def test_a_damaged_object_in_a_colder_tier_is_replaced_there(tmp_path: Path, tier: Bucket) -> None:
    world = IntakeWorld(tmp_path, in_use=tuple(TIERS.values()))
    first = world.gateway().accept(1).event
    good = object_of(world, first)
    world.move(tier)
    world.store.damage(tier, first.object_key, "short")

    repeat = world.gateway().accept(1)

    assert without_transfer(repeat.event) == without_transfer(first)
    assert {bucket for bucket, _ in world.store.objects} == {tier, Bucket.QUARANTINE}
    assert object_of(world, first, tier) == good


@dataclass
class MeddledStore(MemoryObjectStore):
    """A store that calls `meddle` once, before the request that it is set to."""

    before: str = ""
    meddle: Callable[[], object] = lambda: None

    def reached(self, request: str) -> None:
        if request == self.before:
            self.before = ""
            self.meddle()

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.reached("aside" if bucket is Bucket.QUARANTINE else "put")
        return await super().put(bucket, upload)

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        self.reached("head")
        return await super().head(bucket, key)

    def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        self.reached("read")
        return super().read(bucket, key, start, end, size_bytes=size_bytes)

    async def replace(self, bucket: Bucket, upload: Upload, etag: str) -> bool:
        self.reached("replace")
        return await super().replace(bucket, upload, etag)


def meddled(folder: Path) -> tuple[IntakeWorld, MeddledStore]:
    store = MeddledStore()
    return IntakeWorld(folder, store=store), store


STEPS = ["head", "read", "aside", "replace"]


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
@pytest.mark.parametrize("step", STEPS)
def test_a_store_that_fails_in_the_middle_is_unavailable_and_the_next_repeat_succeeds(
    tmp_path: Path, step: str, outage: Outage
) -> None:
    world, store = meddled(tmp_path)
    first = world.gateway().accept(1).event
    good = object_of(world, first)
    world.store.damage(Bucket.HOT, first.object_key, "altered")
    store.before, store.meddle = step, lambda: setattr(store, "outage", outage)

    with pytest.raises(Unavailable):
        world.gateway().accept(1)
    store.outage = Outage.NONE
    repeat = world.gateway().accept(1).event

    assert without_transfer(repeat) == without_transfer(first)
    assert object_of(world, first) == good
    assert len(aside(world)) == 1


@pytest.mark.parametrize("step", ["head", "read", "replace"])
def test_an_object_that_goes_meanwhile_is_unavailable_and_the_next_repeat_stores_it(tmp_path: Path, step: str) -> None:
    world, store = meddled(tmp_path)
    first = stored_and_damaged(world)
    store.before, store.meddle = step, lambda: store.objects.pop((Bucket.HOT, first.object_key))

    with pytest.raises(Unavailable):
        world.gateway().accept(1)

    assert not world.gateway().accept(1).is_repeat


@pytest.mark.parametrize("step", ["read", "aside", "replace"])
def test_what_another_process_puts_in_its_place_meanwhile_stays(tmp_path: Path, step: str) -> None:
    world, store = meddled(tmp_path)
    first = stored_and_damaged(world)
    damaged = store.objects[Bucket.HOT, first.object_key]
    world.gateway().accept(1)
    theirs = replace(store.objects[Bucket.HOT, first.object_key], etag="theirs")
    store.objects = {(Bucket.HOT, first.object_key): damaged}
    store.before, store.meddle = step, lambda: store.objects.update({(Bucket.HOT, first.object_key): theirs})

    repeat = world.gateway().accept(1).event

    assert store.objects[Bucket.HOT, first.object_key] is theirs
    assert without_transfer(repeat) == without_transfer(first)


async def with_inspections(gateway: GatewayProcess, test: Awaitable[None]) -> None:
    """Await a test while the process inspects in the background."""
    inspecting = asyncio.ensure_future(gateway.acceptance.inspect_in_background())
    try:
        await test
    finally:
        inspecting.cancel()
        await asyncio.gather(inspecting, return_exceptions=True)


async def accept_when_inspected(gateway: GatewayProcess) -> Receipt:
    """Repeat instance 1 until it is acknowledged."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await gateway.accept_now(1)
            except Unavailable:
                await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["", *DAMAGES])
def test_a_large_object_is_inspected_in_the_background_and_the_next_repeat_finds_the_result(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    first = world.gateway().accept(1).event
    good = object_of(world, first)
    if how:
        world.store.damage(Bucket.HOT, first.object_key, how)
    monkeypatch.setattr("gateway.intake.repeats.resolver.INSPECTED_AT_ONCE_BYTES", -1)
    gateway = world.gateway()

    async def test() -> None:
        with pytest.raises(Unavailable, match="store-object-inspected"):
            await gateway.accept_now(1)
        repeat = await accept_when_inspected(gateway)
        assert repeat.event.event_id == first.event_id

    asyncio.run(with_inspections(gateway, test()))

    assert object_of(world, first) == good
    assert len(aside(world)) == (1 if how else 0)


class SlowStore(MemoryObjectStore):
    """A store whose reads wait until they are allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = asyncio.Event()

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self.allowed.wait()
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            yield chunk


def test_an_object_that_is_read_too_slowly_is_inspected_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.intake.accept.ANNOUNCE_S", 0.01)
    store = SlowStore()
    world = IntakeWorld(tmp_path, store=store)
    gateway = world.gateway()

    async def test() -> None:
        await gateway.accept_now(1)
        with pytest.raises(Unavailable, match="slow"):
            await gateway.accept_now(1)
        store.allowed.set()
        assert (await accept_when_inspected(gateway)).is_repeat

    asyncio.run(with_inspections(gateway, test()))
