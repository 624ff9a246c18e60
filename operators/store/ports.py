"""What operators ask of the object store and the event log; `connectors/` answers, each time twice: for real and in memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.events import Event
from schemas.objects import Bucket, Envelope
from schemas.topics import Topic


@dataclass(frozen=True)
class Position:
    """Where a record lies in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True)
class StoredObject:
    """An object that is there: its size and what lies beside it."""

    key: str
    size_bytes: int
    envelope: Envelope


@dataclass(frozen=True)
class Upload:
    """An object on its way: its parts in order, their total size and the CRC32C (big-endian, base64) the store checks."""

    key: str
    parts: Sequence[bytes | bytearray | memoryview]
    size_bytes: int
    crc32c: str
    envelope: Envelope


class ObjectStore(Protocol):
    """An S3 store. Every method raises Unavailable when the store does not answer well in time."""

    async def put(self, bucket: Bucket, upload: Upload) -> bool:
        """Store the object unless its key is there; True when it is now stored, False when it already was."""

    async def head(self, bucket: Bucket, key: str) -> StoredObject | None:
        """Look at an object; None when it is not there."""

    def read(self, bucket: Bucket, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from start to end (exclusive); raises KeyError when it is not there.

        Closing the generator before its end frees its connection at once.
        """

    def keys(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[str]:
        """List the keys under a prefix, in order."""

    def sizes(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """List the keys under a prefix, in order, each with its object's bytes."""

    async def delete(self, bucket: Bucket, key: str) -> None:
        """Remove an object; what is not there is gone already."""

    async def check(self) -> None:
        """Return when the store answers and its buckets are there."""


class EventLog(Protocol):
    """A broker. Every method raises Unavailable when it does not answer well in time."""

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append the event under its key; return once the broker has acknowledged it."""

    async def check(self) -> None:
        """Return when the broker answers."""
