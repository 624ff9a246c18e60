"""The object store and the event log in memory: the behaviour of real servers without I/O, and outages on demand."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from hashlib import sha256
from zlib import crc32

from operators.errors import Unavailable, Unreadable
from operators.store.checksum import crc32c_of
from operators.store.clock import StoreClock
from operators.store.ports import (
    FetchedObject,
    ListedObject,
    NoEnvelope,
    OtherSize,
    PlainUpload,
    Position,
    StoredObject,
    Upload,
)
from schemas.codec import decode, encode
from schemas.events import Event
from schemas.objects import Bucket, Envelope
from schemas.topics import PARTITIONS, Topic, record_key

CHUNK_BYTES = 256 * 1024


class Outage(Enum):
    """How a server fails: not at all, before it carries out a request, or after it."""

    NONE = auto()
    REFUSES = auto()
    LOSES_ANSWER = auto()


@dataclass
class Failing:
    """A connector in memory that fails as `outage` says."""

    outage: Outage = Outage.NONE

    def before_request(self, what: str) -> None:
        """Raise Unavailable if requests are refused; called before a request is carried out."""
        if self.outage is Outage.REFUSES:
            raise Unavailable(what)

    def after_request(self, what: str) -> None:
        """Raise Unavailable if answers are lost; called after a request was carried out."""
        if self.outage is Outage.LOSES_ANSWER:
            raise Unavailable(what)


@dataclass(frozen=True)
class StoredBytes:
    """An object as a store keeps it: its bytes, its metadata, how many of the bytes it can still read, and its time."""

    data: bytes
    metadata: dict[str, str]
    etag: str = ""
    readable_bytes: int | None = None
    modified_at: datetime | None = None


def _altered(held: StoredBytes) -> StoredBytes:
    return replace(held, data=held.data[:-1] + bytes(last ^ 1 for last in held.data[-1:]))


# What may become of an object on a store's disk, by name. A store that checks its disk, as MinIO does, cannot read what
# is altered or cut short; a store that does not gives the wrong bytes.
DAMAGES: Mapping[str, Callable[[StoredBytes], StoredBytes]] = {
    "altered": _altered,
    "short": lambda held: replace(held, data=held.data[: len(held.data) // 2]),
    "empty": lambda held: replace(held, data=b""),
    "unreadable": lambda held: replace(held, readable_bytes=0),
    "broken off": lambda held: replace(held, readable_bytes=len(held.data) // 2),
    "no metadata": lambda held: replace(held, metadata={}),
}


@dataclass
class MemoryObjectStore(Failing):
    """An ObjectStore in memory, whose clock is an argument, in Unix seconds."""

    objects: dict[tuple[Bucket, str], StoredBytes] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._time = StoreClock(self.clock, self.clock)

    @property
    def is_time_known(self) -> bool:
        """True once the store's time is known."""
        return self._time.is_known

    async def learn_time(self) -> None:
        """Return once the store has answered; its clock is at hand, so that one answer is enough."""
        if not self._time.is_known:
            self.before_request("store")
            self._time.is_known = True

    def now(self) -> datetime:
        """Return the present time by the store's clock; raises Unavailable before it is known."""
        return self._time.now()

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        """Store the object unless its key exists; True when this call stored it."""
        return self._put(bucket, upload, lambda held: held is None)

    async def replace(self, bucket: Bucket, upload: Upload, etag: str) -> bool:
        """Store the object in place of the version with this tag; False when the key has another version, or none."""
        return self._put(bucket, upload, lambda held: held is not None and held.etag == etag)

    def _put(self, bucket: Bucket, upload: PlainUpload, condition: Callable[[StoredBytes | None], bool]) -> bool:
        self.before_request("store")
        data = b"".join(upload.parts)
        if len(data) != upload.size_bytes or crc32c_of(data) != upload.crc32c:
            raise Unavailable("store-checksum")
        is_stored = condition(self.objects.get((bucket, upload.key)))
        if is_stored:
            modified_at = datetime.fromtimestamp(int(self.clock()), UTC)
            self.objects[bucket, upload.key] = StoredBytes(
                data, upload.metadata, sha256(data).hexdigest(), modified_at=modified_at
            )
        self.after_request("store")
        return is_stored

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Return an object's size, envelope, tag and time; None when there is no such object. Raises NoEnvelope."""
        self.before_request("store")
        found = self.objects.get((bucket, key))
        if found is None:
            return None
        if not found.metadata:
            raise NoEnvelope(len(found.data), found.etag, found.modified_at)
        envelope = Envelope.from_metadata(found.metadata)
        return StoredObject(key, len(found.data), envelope, found.etag, found.modified_at)

    async def fetch(self, bucket: Bucket, key: str, length: int) -> FetchedObject | None:
        """Return what `head` returns of an object, and its first bytes."""
        stored = await self.head(bucket, key)
        if stored is None:
            return None
        return FetchedObject(stored, b"".join([chunk async for chunk in self.read(bucket, key, 0, length)]))

    async def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from start to end (exclusive); raises KeyError when there is no such object."""
        self.before_request("store")
        held = self.objects[bucket, key]
        if size_bytes not in (None, len(held.data)):
            raise OtherSize(len(held.data))
        data = held.data[start:end]
        readable = len(data) if held.readable_bytes is None else max(held.readable_bytes - start, 0)
        for offset in range(0, min(len(data), readable), CHUNK_BYTES):
            yield data[offset : min(offset + CHUNK_BYTES, readable)]
        if readable < len(data):
            raise Unreadable("store")

    async def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix, in order."""
        self.before_request("store")
        for key in sorted(key for within, key in self.objects if within == bucket and key.startswith(prefix)):
            yield key

    async def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys begin with a prefix, in order."""
        async for key in self.keys(bucket, prefix):
            held = self.objects[bucket, key]
            yield ListedObject(key, len(held.data), held.modified_at)

    async def folders(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the folders directly under a prefix, in order."""
        last = None
        async for key in self.keys(bucket, prefix):
            name, slash, _ = key.removeprefix(prefix).partition("/")
            if slash and name != last:
                yield name
                last = name

    async def delete(self, bucket: Bucket, key: str) -> None:
        """Remove an object, if there is one."""
        self.before_request("store")
        self.objects.pop((bucket, key), None)
        self.after_request("store")

    async def check(self) -> None:
        """Return when the store answers; raises Unavailable."""
        self.before_request("store")

    def damage(self, bucket: Bucket, key: str, how: str) -> None:
        """Damage an object as DAMAGES says, as a disk would: its tag stays."""
        self.objects[bucket, key] = DAMAGES[how](self.objects[bucket, key])


@dataclass
class MemoryEventLog(Failing):
    """An EventLog in memory; every event is encoded and decoded as for a broker.

    `records` are by topic name and partition: key, value, and the time of the append in Unix milliseconds. `clock` is
    the broker's, in Unix seconds.
    """

    records: dict[tuple[str, int], list[tuple[bytes, bytes, int]]] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append the event to the partition of its key; return its position."""
        self.before_request("broker")
        key = record_key(event)
        partition = crc32(key) % PARTITIONS
        records = self.records.setdefault((topic.name, partition), [])
        records.append((key, encode(event), int(self.clock() * 1000)))
        self.after_request("broker")
        return Position(partition, len(records) - 1)

    async def check(self) -> None:
        """Return when the broker answers; raises Unavailable."""
        self.before_request("broker")

    def events(self, topic: Topic) -> list[Event]:
        """Return every event of a topic, partition by partition, each in order."""
        partitions = sorted(partition for name, partition in self.records if name == topic.name)
        return [decode(value) for partition in partitions for _, value, _ in self.records[topic.name, partition]]
