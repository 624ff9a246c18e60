"""The contracts of the object store and of the event log; each has a connector to real servers and one in memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from operators.errors import Rejected
from schemas.events import Event
from schemas.objects import Bucket, Envelope
from schemas.topics import Topic


@dataclass(frozen=True)
class Position:
    """The position of a record in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True)
class StoredObject:
    """An object that is in the store: its size, its envelope, and the store's tag of this version of it.

    `modified_at` is when the store took this version, cut to the second; None where nobody has asked the store.
    """

    key: str
    size_bytes: int
    envelope: Envelope
    etag: str = ""
    modified_at: datetime | None = None


@dataclass(frozen=True)
class FetchedObject:
    """An object that is in the store, and its first bytes."""

    stored: StoredObject
    head: bytes


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as a listing names it; `modified_at` is when the store took this version, cut to the second, if it says so."""

    key: str
    size_bytes: int
    modified_at: datetime | None = None


class NoEnvelope(Rejected):
    """The object has no envelope: this archive did not write it, or its metadata are lost.

    `etag` is its version's tag, `modified_at` its time as StoredObject has it.
    """

    def __init__(self, size_bytes: int, etag: str, modified_at: datetime | None = None) -> None:
        super().__init__("no-envelope")
        self.size_bytes = size_bytes
        self.etag = etag
        self.modified_at = modified_at


@dataclass(frozen=True)
class PlainUpload:
    """An object to store: its parts in order, their total size, and the CRC32C (big-endian, base64) of them all.

    It has no metadata: a command says everything itself.
    """

    key: str
    parts: Sequence[bytes | bytearray | memoryview]
    size_bytes: int
    crc32c: str

    @property
    def metadata(self) -> dict[str, str]:
        """Return the metadata to store with the object."""
        return {}


@dataclass(frozen=True)
class Upload(PlainUpload):
    """The object of an instance, with the envelope that its event is rebuilt from."""

    envelope: Envelope

    @property
    def metadata(self) -> dict[str, str]:
        """Return the envelope as the object's metadata."""
        return self.envelope.to_metadata()


class StoreTime(Protocol):
    """The time by the clock of an object store, by which everything that a gateway writes is dated.

    All gateways have this clock in common, so that what one stored first is first by its date too, whatever their
    machines' clocks say: to the time of a request once the time is known, to a second at worst.
    """

    @property
    def is_time_known(self) -> bool:
        """True once the time is known; it stays known."""

    async def learn_time(self) -> None:
        """Return once the time is known: without a request, and at once, if it is known already.

        The first call takes up to a second and a few requests. Raises Unavailable when the store does not answer.
        """

    def now(self) -> datetime:
        """Return the present time in UTC, later at each call of one process; a clock that is set changes nothing.

        Raises Unavailable before the time is known.
        """


class OtherSize(Exception):
    """An object has another size than its reader was told; `size_bytes` is its own."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class ObjectStore(StoreTime, Protocol):
    """A store of objects in buckets: S3, as far as this archive needs it.

    Objects are never changed: a key is written once, read often, and perhaps deleted; only an object that is damaged is
    replaced. A read that follows a write or a delete, by any process, sees it. Callers may use one store for many
    requests at a time, all from one event loop.

    Every method raises Unavailable when the store does not answer in time, refuses, or lacks the bucket. Then it is not
    known what happened: a PUT or DELETE may have been carried out, and may still be carried out later. So callers
    repeat the request, which is safe for all of them, or look. No method retries by itself, save for a request that is
    refused because this machine's clock is wrong. A method that streams may raise Unavailable in the middle, after it
    has yielded a part.
    """

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        """Store the object unless its key exists; True when this call stored it, False when it was there before.

        When this returns, the object is durable, and whole: the store has compared its CRC32C. Of several uploads of
        one key at the same time at most one is told True. False promises nothing about the content under the key. The
        parts are not copied, and must not change until this returns or raises.
        """

    async def replace(self, bucket: Bucket, upload: Upload, etag: str) -> bool:
        """Store the object in place of the version with this tag; False when the key has another version, or none.

        All else is as for `put`. A tag may follow from the content alone: then an equal object is replaced too.
        """

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Return an object's size, envelope, tag and time, as the store was told; None when there is no such object.

        Says nothing about the bytes: they may be damaged. Raises NoEnvelope for an object that this archive did not
        write, Unreadable when the store answers that it cannot look: the object's metadata may be damaged.
        """

    async def fetch(self, bucket: Bucket, key: str, length: int) -> FetchedObject | None:
        """Return what `head` returns of an object and its first bytes, `length` of them or all, in one request.

        All else is as for `head` and `read`.
        """

    def read(
        self, bucket: Bucket, key: str, start: int = 0, end: int | None = None, *, size_bytes: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from start to end (exclusive), in chunks of any size; fewer if it is shorter.

        The request is made with the first chunk. Raises KeyError, before the first chunk, when there is no such
        object, and Unreadable, perhaps after some chunks, when the store answers but does not give all bytes of its
        object. With `size_bytes`, raises OtherSize before the first chunk when the whole object has another size: places
        in it are then not those that the caller knows. The bytes are not compared with a checksum. Closing the generator before its end frees its connection
        at once.
        """

    def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix, in order; a key that is added or removed meanwhile may be missing."""

    def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys `keys` yields, as the store lists them."""

    def folders(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """Yield the folders that lie directly under a prefix: what keys have between it and the next slash, each once.

        They are in the order that they have with the slash behind them.
        """

    async def delete(self, bucket: Bucket, key: str) -> None:
        """Remove an object; it is no error when there is none."""

    async def check(self) -> None:
        """Return when the store answers and has every bucket, as a probe of readiness."""


class EventLog(Protocol):
    """A log of events in topics: Kafka, as far as this archive needs it.

    Events of one key are in one partition, and readers see them in the order in which their publishing was
    acknowledged. Nothing is promised about the order of events of different keys. An event may be in the log twice,
    with the same event id, and readers must cope with that. One log may publish many events at a time, all from one
    event loop.

    Every method raises Unavailable when the broker does not answer in time or refuses. Then the event may be in the log
    nevertheless, or may still appear: callers publish it again, unchanged, until it is acknowledged.
    """

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append the event under its key; return its position once the broker has acknowledged it.

        When this returns, the event is on as many brokers as the topic wants, and readers will see it.
        """

    async def check(self) -> None:
        """Return when the broker answers, as a probe of readiness."""
