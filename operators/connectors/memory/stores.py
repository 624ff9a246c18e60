"""Memory twins of the connectors: whole behaviour, no I/O, and outages on demand."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum, auto
from zlib import crc32

import google_crc32c

from operators.errors import Unavailable
from operators.store.ports import Position, StoredObject, Upload
from schemas.codec import decode, encode
from schemas.events import Event
from schemas.objects import Bucket, Envelope
from schemas.topics import PARTITIONS, Topic, record_key

CHUNK_BYTES = 256 * 1024


class Outage(Enum):
    """How an outside fails: not at all, before it did anything, or after it did it."""

    NONE = auto()
    REFUSES = auto()
    LOSES_ANSWER = auto()


@dataclass
class Failing:
    """Something that can be made to fail: `outage` says how."""

    outage: Outage = Outage.NONE

    def begin(self, what: str) -> None:
        """Raise Unavailable when nothing is to be done."""
        if self.outage is Outage.REFUSES:
            raise Unavailable(what)

    def answer(self, what: str) -> None:
        """Raise Unavailable when what was done is not to be told."""
        if self.outage is Outage.LOSES_ANSWER:
            raise Unavailable(what)


@dataclass(frozen=True)
class Held:
    """One object: its bytes and its metadata as the store keeps them."""

    data: bytes
    metadata: dict[str, str]


@dataclass
class MemoryObjectStore(Failing):
    """An ObjectStore in memory."""

    objects: dict[tuple[Bucket, str], Held] = field(default_factory=dict)

    async def put(self, bucket: Bucket, upload: Upload) -> bool:
        """Store the object unless its key is there."""
        self.begin("store")
        data = b"".join(upload.parts)
        if len(data) != upload.size_bytes or crc32c_of(data) != upload.crc32c:
            raise Unavailable("store-checksum")
        is_new = (bucket, upload.key) not in self.objects
        if is_new:
            self.objects[bucket, upload.key] = Held(data, upload.envelope.to_metadata())
        self.answer("store")
        return is_new

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Look at an object; None when it is not there."""
        self.begin("store")
        held = self.objects.get((bucket, key))
        return StoredObject(key, len(held.data), Envelope.from_metadata(held.metadata)) if held else None

    async def read(self, bucket: Bucket, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the object's bytes; raises KeyError when it is not there."""
        self.begin("store")
        data = self.objects[bucket, key].data[start:end]
        for offset in range(0, len(data), CHUNK_BYTES):
            yield data[offset : offset + CHUNK_BYTES]

    async def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """List the keys under a prefix, in order."""
        self.begin("store")
        for key in sorted(name for place, name in self.objects if place == bucket and name.startswith(prefix)):
            yield key

    async def sizes(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """List the keys under a prefix, in order, each with its object's bytes."""
        async for key in self.keys(bucket, prefix):
            yield key, len(self.objects[bucket, key].data)

    async def delete(self, bucket: Bucket, key: str) -> None:
        """Remove an object; what is not there is gone already."""
        self.begin("store")
        self.objects.pop((bucket, key), None)
        self.answer("store")

    async def check(self) -> None:
        """Return when the store answers."""
        self.begin("store")


@dataclass
class MemoryEventLog(Failing):
    """An EventLog in memory; records keep their bytes, so that what is read back was encoded."""

    records: dict[tuple[str, int], list[tuple[bytes, bytes, int]]] = field(default_factory=dict)

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append the event under its key."""
        self.begin("broker")
        key = record_key(event)
        partition = crc32(key) % PARTITIONS
        place = self.records.setdefault((topic.name, partition), [])
        place.append((key, encode(event), int(event.occurred_at.timestamp() * 1000)))
        self.answer("broker")
        return Position(partition, len(place) - 1)

    async def check(self) -> None:
        """Return when the broker answers."""
        self.begin("broker")

    def events(self, topic: Topic) -> list[Event]:
        """Return every event of a topic, in order within a partition."""
        ours = sorted(place for place in self.records if place[0] == topic.name)
        return [decode(value) for place in ours for _, value, _ in self.records[place]]


def crc32c_of(data: bytes) -> str:
    """Return the CRC32C of these bytes as S3 writes it: big-endian, base64."""
    return base64.b64encode(int(google_crc32c.value(data)).to_bytes(4, "big")).decode()
