"""Make the event of a stored instance again from as few of its bytes as that takes."""

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, NamedTuple

from operators.dicom.instance import examine
from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Rejected, Unavailable
from operators.rebuild.instances import ByteRange, check_content, check_identity, next_range, stored_event
from operators.store.ports import FetchedObject, ObjectStore, OtherSize, StoredObject
from schemas.events import InstanceStored
from schemas.objects import Bucket, Identity

# Most headers are shorter, and a larger answer takes the store longer.
HEAD_BYTES = 16 * 1024
# What is read of a longer object lies in a file, not in memory, if more of it than this is read.
IN_MEMORY_BYTES = 256 * 1024
FOREIGN_KEY = "foreign-key"
GONE = "object-went"
SHORT = "object-short"


@dataclass(frozen=True)
class InstanceReader:
    """The reading of instances for their events; `limits` are those of the gateways that have accepted them."""

    store: ObjectStore
    limits: ScanLimits = LIMITS

    async def event(self, key: str, tiers: tuple[Bucket, ...]) -> InstanceStored:
        """Return the event of the object of this key, in the first of the tiers that has it.

        Raises Rejected for an object that is foreign or damaged, as far as what is read of it tells, and Unavailable,
        also Unreadable.
        """
        try:
            identity = Identity.of(key)
        except ValueError:
            raise Rejected(FOREIGN_KEY) from None
        bucket, fetched = await self._fetched(key, tiers)
        try:
            with _room(fetched.stored.size_bytes) as room:
                is_whole = await self._fill(room, bucket, fetched)
                return self._event(identity, fetched.stored, room.whole, is_whole=is_whole)
        except OSError as error:
            raise Unavailable("temporary-files", f"{tempfile.gettempdir()}: {error.strerror}") from error

    async def _fetched(self, key: str, tiers: tuple[Bucket, ...]) -> tuple[Bucket, FetchedObject]:
        for bucket in tiers:
            if fetched := await self.store.fetch(bucket, key, HEAD_BYTES):
                return bucket, fetched
        raise Rejected(GONE)

    async def _fill(self, room: "ObjectRoom", bucket: Bucket, fetched: FetchedObject) -> bool:
        """Write what the event needs of the object into its place; return True if that is all of it."""
        stored, known, is_whole = fetched.stored, len(fetched.head), True
        room.write(0, fetched.head)
        while wanted := next_range(room.whole, known, stored.envelope, self.limits):
            await self._read(room, bucket, stored, wanted)
            start, end = wanted
            is_whole = is_whole and start == known
            known = end if start == known else stored.size_bytes
        return is_whole and known == stored.size_bytes

    async def _read(self, room: "ObjectRoom", bucket: Bucket, stored: StoredObject, wanted: ByteRange) -> None:
        position, end = wanted
        try:
            async with aclosing(self.store.read(bucket, stored.key, *wanted, size_bytes=stored.size_bytes)) as chunks:
                async for chunk in chunks:
                    room.write(position, chunk)
                    position += len(chunk)
        except (KeyError, OtherSize):
            # It was moved or replaced meanwhile; whoever did it has published its event, or the next run will.
            raise Rejected(GONE) from None
        if position != end:
            raise Rejected(SHORT)

    def _event(self, identity: Identity, stored: StoredObject, whole: mmap.mmap, *, is_whole: bool) -> InstanceStored:
        envelope = stored.envelope
        with memoryview(whole) as view, view[envelope.prefix_length :] as data_set:
            examination = examine(data_set, envelope.transfer_syntax, envelope.prefix_length, self.limits)
        check_identity(identity, examination, envelope, whole)
        if is_whole:
            check_content(identity, envelope, whole)
        return stored_event(identity, examination, stored)


class ObjectRoom(NamedTuple):
    """Room for an object, all zeros at first; what is never written takes neither memory nor disk."""

    whole: mmap.mmap
    # Writes bytes at a position; raises OSError when the disk is full, where a write into the map would end the process.
    write: Callable[[int, bytes], None]


@contextmanager
def _room(size_bytes: int) -> Iterator[ObjectRoom]:
    """Open room for an object of this size."""
    if size_bytes <= IN_MEMORY_BYTES:
        with mmap.mmap(-1, max(size_bytes, 1)) as whole:
            yield ObjectRoom(whole, partial(_write_memory, whole))
        return
    with tempfile.TemporaryFile() as file:
        file.truncate(size_bytes)
        with mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ) as whole:
            yield ObjectRoom(whole, partial(_write_file, file))


def _write_memory(whole: mmap.mmap, position: int, data: bytes) -> None:
    whole[position : position + len(data)] = data


def _write_file(file: IO[bytes], position: int, data: bytes) -> None:
    file.seek(position)
    file.write(data)
    file.flush()
