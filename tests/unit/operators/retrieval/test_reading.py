"""Objects are read at their location in the catalog, and bytes other than the stored bytes raise Damaged."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from operators.access.principal import Principal
from operators.catalog.ports import Location
from operators.catalog.rows import DamageRow
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import MemoryObjectStore, Outage, StoredBytes
from operators.errors import Unavailable, Unreadable
from operators.retrieval.reading import (
    CHECKED_FIRST_BYTES,
    ArchiveReader,
    Damaged,
    ExpectedBytes,
    NotFound,
    read_object,
)
from schemas.objects import TIERS, Bucket
from schemas.telemetry import API_DAMAGED
from tests.support.worlds.reading import BEGAN, World, part10

PRINCIPAL = Principal("local", "loopback", "peer address")
UIDS = ("1.2.3", "1.2.3.1", "1.2.3.1.1")
ONE = part10()
TWO = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
LARGE = part10() + bytes(CHECKED_FIRST_BYTES)


async def archive(*files: bytes, objects: MemoryObjectStore | None = None) -> tuple[World, ArchiveReader]:
    world = World(objects=objects or MemoryObjectStore())
    await world.add(*files)
    return world, ArchiveReader(PRINCIPAL, world.queries, world.objects)


async def collected(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def change_bytes(world: World, change: Callable[[bytes], bytes]) -> None:
    for place, held in world.objects.objects.items():
        world.objects.objects[place] = StoredBytes(change(held.data), held.metadata)


def altered(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("whole", [ONE, LARGE], ids=["small", "large"])
def test_an_object_is_read_as_it_was_stored(whole: bytes) -> None:
    async def read() -> tuple[bytes, bytes, bytes]:
        _, reader = await archive(whole)
        location = await reader.locate_one(*UIDS)
        return (
            await collected(reader.stream_whole(location)),
            await collected(reader.stream_range(location, 10, 300)),
            await reader.read_range(location, 132, 140),
        )

    assert asyncio.run(read()) == (whole, whole[10:300], whole[132:140])


@pytest.mark.parametrize("uids", [UIDS[:1], UIDS[:2], UIDS])
def test_the_instances_of_a_study_series_or_instance_are_located(uids: tuple[str, ...]) -> None:
    async def located() -> list[str]:
        _, reader = await archive(ONE, TWO)
        return [one.sop_uid for one in await reader.locate(*uids)]

    assert asyncio.run(located()) == (["1.2.3.1.1"] if uids == UIDS else ["1.2.3.1.1", "1.2.3.1.2"])


@pytest.mark.parametrize(
    ("uids", "what"), [(("9",), "study"), (("1.2.3", "9"), "series"), (("1.2.3", "1.2.3.1", "9"), "instance")]
)
def test_a_missing_study_series_or_instance_is_not_found(uids: tuple[str, ...], what: str) -> None:
    async def locate() -> None:
        _, reader = await archive(ONE)
        await reader.locate(*uids)

    with pytest.raises(NotFound, match=what):
        asyncio.run(locate())


def test_another_tenants_study_is_not_found() -> None:
    async def locate() -> None:
        world, reader = await archive(ONE)
        await world.add(part10(StudyInstanceUID="1.9"), tenant="other")
        await reader.locate("1.9")

    with pytest.raises(NotFound, match="study"):
        asyncio.run(locate())


@pytest.mark.parametrize("at", [5, 140, 200, -1], ids=["preamble", "file meta", "file meta's end", "pixels"])
def test_an_altered_byte_is_found_before_the_first_byte_of_a_small_object_is_yielded(at: int) -> None:
    chunks: list[bytes] = []

    async def read() -> None:
        nonlocal chunks
        world, reader = await archive(ONE)
        change_bytes(world, lambda data: altered(data, at))
        async for chunk in reader.stream_whole(await reader.locate_one(*UIDS)):
            chunks += [chunk]

    before = API_DAMAGED.labels("object-altered")._value.get()
    with pytest.raises(Damaged, match="object-altered"):
        asyncio.run(read())

    assert chunks == []
    assert API_DAMAGED.labels("object-altered")._value.get() == before + 1


def test_the_last_bytes_of_an_altered_large_object_are_not_yielded() -> None:
    chunks: list[bytes] = []

    async def read() -> None:
        nonlocal chunks
        world, reader = await archive(LARGE)
        change_bytes(world, altered)
        async for chunk in reader.stream_whole(await reader.locate_one(*UIDS)):
            chunks += [chunk]

    with pytest.raises(Damaged, match="object-altered"):
        asyncio.run(read())

    assert 0 < sum(map(len, chunks)) < len(LARGE)


@pytest.mark.parametrize(
    "read_some",
    [ArchiveReader.stream_whole, lambda reader, location: reader.stream_range(location, 100, 500)],
    ids=["whole", "range"],
)
def test_a_shortened_object_is_damaged(
    read_some: Callable[[ArchiveReader, Location], AsyncGenerator[bytes, None]],
) -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        change_bytes(world, lambda data: data[:400])
        await collected(read_some(reader, await reader.locate_one(*UIDS)))

    with pytest.raises(Damaged, match="object-short"):
        asyncio.run(read())


@pytest.mark.parametrize(
    "read_some",
    [ArchiveReader.stream_whole, lambda reader, location: reader.stream_range(location, 100, 300)],
    ids=["whole", "range"],
)
@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda data: b"more" + data, "object-altered"), (lambda data: data[4:], "object-short")],
    ids=["longer", "shorter"],
)
def test_no_range_is_read_of_an_object_of_another_size(
    read_some: Callable[[ArchiveReader, Location], AsyncGenerator[bytes, None]],
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        change_bytes(world, change)
        await collected(read_some(reader, await reader.locate_one(*UIDS)))

    with pytest.raises(Damaged, match=reason):
        asyncio.run(read())


def test_a_missing_object_is_damaged() -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        world.objects.objects.clear()
        await collected(reader.stream_whole(await reader.locate_one(*UIDS)))

    with pytest.raises(Damaged, match="object-missing"):
        asyncio.run(read())


async def move_to_warm(world: World, **changes: str) -> None:
    """Move every object to the warm tier, and make these changes to its row."""
    for key, row in world.catalog.tables.instances.items():
        world.objects.objects[Bucket.WARM, row.object_key] = world.objects.objects.pop((Bucket.HOT, row.object_key))
        world.catalog.tables.instances[key] = replace(row, tier="warm", **changes)  # type: ignore[arg-type]


def test_an_object_that_has_moved_to_another_tier_is_read_there() -> None:
    async def read() -> bytes:
        world, reader = await archive(ONE)
        location = await reader.locate_one(*UIDS)
        await move_to_warm(world)
        return await collected(reader.stream_whole(location))

    assert asyncio.run(read()) == ONE


def test_an_object_whose_prefix_has_changed_is_not_read_by_its_old_offsets() -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        location = await reader.locate_one(*UIDS)
        await move_to_warm(world, prefix_hash="0" * 64)
        await reader.read_range(location, 200, 300)

    with pytest.raises(Unavailable):
        asyncio.run(read())


def test_an_instance_that_was_removed_before_it_is_read_is_not_found() -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        location = await reader.locate_one(*UIDS)
        world.objects.objects.clear()
        world.catalog.tables.instances.clear()
        await reader.read_range(location, 0, 10)

    with pytest.raises(NotFound, match="instance"):
        asyncio.run(read())


@pytest.mark.parametrize("what", ["queries", "objects"])
def test_a_server_that_is_away_is_unavailable(what: str) -> None:
    async def read() -> None:
        world, reader = await archive(ONE)
        getattr(world, what).outage = Outage.REFUSES
        await collected(reader.stream_whole(await reader.locate_one(*UIDS)))

    with pytest.raises(Unavailable):
        asyncio.run(read())


@dataclass
class CountsReads(MemoryQueries):
    """A catalog that counts how often an instance is located."""

    located: int = 0

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        self.located += 1
        return await super().locate_one(tenant, study_uid, series_uid, sop_uid)


def test_the_catalog_is_asked_again_only_when_the_object_is_missing() -> None:
    async def read() -> int:
        world, _ = await archive(ONE)
        queries = CountsReads(rows=world.catalog.tables)
        reader = ArchiveReader(PRINCIPAL, queries, world.objects)
        await collected(reader.stream_whole(await reader.locate_one(*UIDS)))
        return queries.located

    assert asyncio.run(read()) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [(altered, "object-altered"), (lambda data: data[:-2], "object-short"), (bytes, "")],
    ids=["altered", "short", "good"],
)
def test_an_object_that_is_not_in_the_catalog_is_verified_too(change: Callable[[bytes], bytes], reason: str) -> None:
    assert asyncio.run(read_unshown(lambda world: change_bytes(world, change))) == (reason or ONE)


def test_a_missing_object_that_is_not_in_the_catalog_is_damaged() -> None:
    assert asyncio.run(read_unshown(lambda world: world.objects.objects.clear())) == "object-missing"


async def read_unshown(change: Callable[[World], None]) -> bytes | str:
    """Return an object's bytes, or the reason why they are damaged."""
    world, reader = await archive(ONE)
    one = await reader.locate_one(*UIDS)
    expected = ExpectedBytes(one.size_bytes, one.transfer_syntax, one.prefix_length, one.prefix_hash, one.data_hash)
    change(world)
    try:
        return await collected(read_object(world.objects, Bucket.HOT, one.object_key, expected))
    except Damaged as error:
        return error.reason


@pytest.mark.parametrize("how", ["unreadable", "broken off"])
@pytest.mark.parametrize("whole", [ONE, LARGE], ids=["small", "large"])
def test_an_object_that_the_store_cannot_give_is_damaged(whole: bytes, how: str) -> None:
    async def read() -> None:
        world, reader = await archive(whole)
        for bucket, key in world.objects.objects:
            world.objects.damage(bucket, key, how)
        await collected(reader.stream_whole(await reader.locate_one(*UIDS)))

    before = API_DAMAGED.labels("object-unreadable")._value.get()
    with pytest.raises(Damaged, match="object-unreadable"):
        asyncio.run(read())

    assert API_DAMAGED.labels("object-unreadable")._value.get() == before + 1


@dataclass
class FailingReads(MemoryObjectStore):
    """A store that breaks off its first reads after 100 bytes, and may be away afterwards."""

    failures: int = 1
    then: Outage = Outage.NONE

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        self.failures -= 1
        left = 100 if self.failures >= 0 else None
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            yield chunk[:left]
            if left is not None:
                self.outage = self.then
                raise Unreadable("store-broke-off")


def test_a_read_that_breaks_off_once_goes_on_where_it_was() -> None:
    async def read() -> bytes:
        _, reader = await archive(LARGE, objects=FailingReads())
        return await collected(reader.stream_whole(await reader.locate_one(*UIDS)))

    assert asyncio.run(read()) == LARGE


def test_an_object_at_a_store_that_is_not_well_does_not_count_as_damaged() -> None:
    async def read() -> bytes:
        _, reader = await archive(ONE, objects=FailingReads(then=Outage.REFUSES))
        return await collected(reader.stream_whole(await reader.locate_one(*UIDS)))

    with pytest.raises(Unavailable):
        asyncio.run(read())


def mark(world: World, tier: str = "hot", modified_at: datetime | None = None) -> None:
    """Mark every object in a tier as damaged, as it is there now, or of this time."""
    for row in world.catalog.tables.instances.values():
        held = world.objects.objects.get((TIERS[tier], row.object_key))
        made = DamageRow(
            tenant=row.tenant,
            study_uid=row.study_uid,
            object_key=row.object_key,
            tier=tier,
            reason="hash",
            modified_at=modified_at or (held.modified_at if held else None),
            found_at=BEGAN,
        )
        world.catalog.tables.damage[row.tenant, row.study_uid, row.object_key, tier] = made


def copy_to(world: World, bucket: Bucket, **changes: object) -> None:
    """Copy every object to a tier, with these changes."""
    for (_, key), held in list(world.objects.objects.items()):
        world.objects.objects[bucket, key] = replace(held, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "read_some",
    [
        lambda reader, location: reader.stream_range(location, 10, 300),
        lambda reader, location: reader.stream_whole(location),
    ],
    ids=["range", "whole"],
)
def test_marked_bytes_are_not_read_unless_another_tier_has_them(
    read_some: Callable[[ArchiveReader, Location], AsyncGenerator[bytes, None]],
) -> None:
    async def read(copied: Callable[[World], None]) -> bytes:
        world, reader = await archive(ONE)
        copied(world)
        mark(world)
        change_hot_bytes(world, altered)
        return await collected(read_some(reader, await reader.locate_one(*UIDS)))

    with pytest.raises(Damaged, match="object-marked"):
        asyncio.run(read(lambda _: None))
    assert asyncio.run(read(lambda world: copy_to(world, Bucket.COLD))) in (ONE, ONE[10:300])


def change_hot_bytes(world: World, change: Callable[[bytes], bytes]) -> None:
    for (bucket, key), held in list(world.objects.objects.items()):
        if bucket is Bucket.HOT:
            world.objects.objects[bucket, key] = replace(held, data=change(held.data))


async def read_with(change: Callable[[World], None]) -> bytes:
    """Return a range of an object that is marked and then changed."""
    world, reader = await archive(ONE)
    mark(world)
    change(world)
    return await reader.read_range(await reader.locate_one(*UIDS), 10, 300)


LATER = BEGAN + timedelta(days=1)


def mark_the_cold_one_alone(world: World) -> None:
    world.catalog.tables.damage.clear()
    mark(world, "cold")


def copy_and_mark_the_copy(world: World) -> None:
    copy_to(world, Bucket.COLD)
    mark(world, "cold")


@pytest.mark.parametrize(
    "change",
    [
        lambda world: copy_to(world, Bucket.HOT, modified_at=LATER),
        lambda world: world.catalog.tables.damage.clear(),
        lambda world: mark(world, modified_at=BEGAN),
        mark_the_cold_one_alone,
    ],
    ids=["replaced", "healed", "of an earlier object", "in another tier"],
)
def test_a_mark_that_does_not_speak_of_the_object_that_is_there_is_not_heeded(change: Callable[[World], None]) -> None:
    assert asyncio.run(read_with(change)) == ONE[10:300]


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda world: copy_to(world, Bucket.COLD, metadata={}),
        lambda world: copy_to(world, Bucket.COLD, data=ONE + b"more"),
        copy_and_mark_the_copy,
        lambda world: copy_to(world, Bucket.HOT, metadata={}),
    ],
    ids=["no copy", "without an envelope", "another size", "marked too", "its envelope is lost"],
)
def test_a_copy_is_used_only_if_it_is_the_same_object_and_not_marked(change: Callable[[World], None]) -> None:
    with pytest.raises(Damaged, match="object-marked"):
        asyncio.run(read_with(change))


def test_an_object_that_its_tier_has_lost_is_read_from_another() -> None:
    async def read() -> bytes:
        world, reader = await archive(ONE)
        copy_to(world, Bucket.WARM)
        del world.objects.objects[Bucket.HOT, (await reader.locate_one(*UIDS)).object_key]
        return await reader.read_range(await reader.locate_one(*UIDS), 10, 300)

    assert asyncio.run(read()) == ONE[10:300]
