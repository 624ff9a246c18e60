"""An object is judged by all its bytes, read twice before it counts as damaged; what can be read is kept aside once."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.intake.repeats.inspection import Inspector
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.tiers import TieredObject, TieredStore
from operators.connectors.memory.stores import MemoryObjectStore
from operators.dicom.instance import data_hasher
from operators.errors import Unavailable, Unreadable
from operators.store.checksum import crc32c_of
from operators.store.ports import Upload
from schemas.objects import Bucket, Envelope, Identity
from tests.unit.gateway.intake.test_quarantine import upload as quarantined

PREFIX, DATA = b"a prefix", bytes(range(256)) * 4096
LIMITS = 2**16


def envelope_of(data: bytes) -> Envelope:
    """Return the envelope of an object with this content, whose prefix has the length of PREFIX."""
    described = quarantined(data, "local/x").envelope.to_metadata() | {
        "prefix-length": str(len(PREFIX)),
        "prefix-hash": hashlib.sha256(PREFIX).hexdigest(),
    }
    return Envelope.from_metadata(described)


@dataclass
class ObservedReads(MemoryObjectStore):
    """A store whose first reads fail, and which counts the bytes that a reader has at once."""

    failures: int = 0
    reads: int = 0
    largest_bytes: int = field(default=0)

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        if self.reads <= self.failures:
            raise Unreadable("store-503")
        async for chunk in super().read(bucket, key, start, end, size_bytes=size_bytes):
            yield chunk


@dataclass
class InspectedWorld:
    """A store with one object, and an inspector."""

    folder: Path
    store: ObservedReads = field(default_factory=ObservedReads)
    room: Room = field(default_factory=lambda: Room(2**30))

    def __post_init__(self) -> None:
        hasher = data_hasher("1.2.840.10008.1.2.1")
        hasher.update(DATA)
        self.key = Identity("local", "1.2", "1.3", "1.4", hasher.hexdigest()).key
        whole = PREFIX + DATA
        envelope = envelope_of(whole)
        asyncio.run(self.store.put(Bucket.HOT, Upload(self.key, (whole,), len(whole), crc32c_of(whole), envelope)))

    async def _keep_aside(self, upload: Upload) -> None:
        await self.store.put(Bucket.QUARANTINE, upload)

    def inspect(self) -> str:
        tiers = TieredStore(self.store)
        inspector = Inspector(tiers, self._keep_aside, self.room, SpoolLimits(LIMITS, 1, self.folder))

        async def inspected() -> str:
            found = await tiers.find(self.key)
            assert found is not None
            return await inspector.inspect(found, envelope_of(b""))

        return asyncio.run(inspected())

    @property
    def aside(self) -> list[bytes]:
        return [held.data for (bucket, _), held in self.store.objects.items() if bucket is Bucket.QUARANTINE]


@pytest.fixture
def world(tmp_path: Path) -> InspectedWorld:
    return InspectedWorld(tmp_path)


def test_a_whole_object_is_read_once(world: InspectedWorld) -> None:
    assert world.inspect() == ""
    assert world.store.reads == 1


def test_an_object_that_is_read_at_the_second_time_is_whole(world: InspectedWorld) -> None:
    world.store.failures = 1

    assert world.inspect() == ""
    assert (world.store.reads, world.aside) == (2, [])


def test_a_damaged_object_that_is_larger_than_memory_and_limit_is_kept_aside_by_way_of_a_file(
    world: InspectedWorld,
) -> None:
    world.store.damage(Bucket.HOT, world.key, "altered")

    assert world.inspect() == "object-altered"
    assert world.aside == [world.store.objects[Bucket.HOT, world.key].data]
    assert (world.room.held_bytes, world.room.spooled_bytes) == (0, 0)


def test_an_altered_prefix_is_damage_too(world: InspectedWorld) -> None:
    held = world.store.objects[Bucket.HOT, world.key]
    world.store.objects[Bucket.HOT, world.key] = type(held)(b"A" + held.data[1:], held.metadata)

    assert world.inspect() == "object-altered"


def test_the_same_damage_is_kept_aside_once(world: InspectedWorld) -> None:
    world.store.damage(Bucket.HOT, world.key, "short")

    assert (world.inspect(), world.inspect()) == ("object-altered", "object-altered")
    assert len(world.aside) == 1


def test_a_damaged_object_is_not_judged_while_there_is_no_room_to_keep_it(world: InspectedWorld) -> None:
    world.store.damage(Bucket.HOT, world.key, "altered")
    world.room.most_spooled_bytes = 0

    with pytest.raises(Unavailable, match="spool"):
        world.inspect()


def test_an_object_that_is_gone_is_not_judged(world: InspectedWorld) -> None:
    inspector = Inspector(TieredStore(world.store), world._keep_aside, world.room, SpoolLimits(0, 0, world.folder))
    gone = TieredObject(Bucket.WARM, world.key, 1, "", envelope_of(b""))

    with pytest.raises(Unavailable, match="store-object-went"):
        asyncio.run(inspector.inspect(gone, envelope_of(b"")))
