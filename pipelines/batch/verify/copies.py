"""The objects of a study as they are in the store: each is read to its end, whatever the store says of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from operators.dicom.part10 import MAX_BEGINNING_BYTES, split_part10
from operators.errors import Rejected, Unreadable
from operators.integrity.comparison import UNDESCRIBED, ContentBytes, StoredCopy
from operators.retrieval.reading import content_of
from operators.store.commands import COMMANDS
from operators.store.ports import FetchedObject, NoEnvelope, ObjectStore
from pipelines.batch.verify.pace import CpuPace
from schemas.objects import Bucket, Identity, commands_prefix

# How many objects of a study are read at once.
AT_ONCE = 4
# Objects up to this size, which are nearly all, take one request; longer ones take two.
FIRST_BYTES = 2**20


class Place(NamedTuple):
    """An object's key in one tier."""

    bucket: Bucket
    key: str

    @property
    def is_of_command(self) -> bool:
        """True if the object is a command."""
        return self.key.startswith(commands_prefix(*self.key.split("/", 2)[:2]))


class Beginning(NamedTuple):
    """What is hashed apart from the data set: the transfer syntax, and the bytes before the data set."""

    transfer_syntax: str
    prefix_length: int


@dataclass(frozen=True)
class CopyReader:
    """A reader of objects, for one event loop; raises Unavailable when the store ails as a whole.

    `now` returns the present time by the store's clock. An object that the store took less than `grace_s` ago is new.
    """

    store: ObjectStore
    pace: CpuPace
    now: Callable[[], datetime]
    grace_s: float

    async def read_all(self, places: Iterable[Place]) -> list[StoredCopy]:
        """Return the objects at these places, without those that are gone."""
        copies: list[StoredCopy] = []
        left = iter(places)
        await asyncio.gather(*(self._read_some(left, copies) for _ in range(AT_ONCE)))
        return copies

    async def _read_some(self, left: Iterator[Place], copies: list[StoredCopy]) -> None:
        for place in left:
            copy = await self._copy(place)
            copies += [copy] if copy else []

    async def _copy(self, place: Place) -> StoredCopy | None:
        """Return an object as it is; None if it is gone."""
        copy = StoredCopy(place.key, place.bucket.value, None, None)
        try:
            copy, beginning, fetched = await self._told(place, copy)
            if beginning is None and place.is_of_command:
                return await self._command(place, copy)
            beginning = beginning or await self._file_meta(place)
            chunks = self.pace.paced(self._chunks(place, fetched))
            return replace(copy, read=await content_of(chunks, *beginning))
        except (Rejected, ValueError):
            # It is no instance: nothing says what its bytes should be.
            return copy
        except Unreadable:
            # A store that ails as a whole answers so too; then the check raises.
            await self.store.check()
            return copy
        except KeyError:
            return None

    async def _told(self, place: Place, copy: StoredCopy) -> tuple[StoredCopy, Beginning | None, FetchedObject | None]:
        """Return what the store says of an object, the beginning that its envelope tells, and its first bytes.

        Without an envelope there is no beginning, and nothing is fetched. Raises KeyError if the object is gone,
        ValueError if its key is no instance's.
        """
        try:
            fetched = await self._fetched(place)
        except NoEnvelope as error:
            return self._dated(copy, error.modified_at), None, None
        stored, identity = fetched.stored, Identity.of(place.key)
        envelope = stored.envelope
        said = ContentBytes(stored.size_bytes, envelope.prefix_hash, identity.data_hash)
        told = replace(self._dated(copy, stored.modified_at), said=said)
        return told, Beginning(envelope.transfer_syntax, envelope.prefix_length), fetched

    async def _fetched(self, place: Place) -> FetchedObject:
        """Return an object with its first bytes, or with none if they cannot be read, which the reading then finds."""
        try:
            fetched = await self.store.fetch(place.bucket, place.key, FIRST_BYTES)
        except Unreadable:
            stored = await self.store.head(place.bucket, place.key)
            fetched = FetchedObject(stored, b"") if stored else None
        if fetched is None:
            raise KeyError(place.key)
        return fetched

    async def _chunks(self, place: Place, fetched: FetchedObject | None) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes: those that were fetched, then the others."""
        known = 0
        if fetched is not None and fetched.head:
            known = len(fetched.head)
            yield fetched.head
        if fetched is None or known < fetched.stored.size_bytes:
            async with aclosing(self.store.read(place.bucket, place.key, known)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _dated(self, copy: StoredCopy, modified_at: datetime | None) -> StoredCopy:
        is_new = modified_at is not None and self.now() - modified_at < timedelta(seconds=self.grace_s)
        return replace(copy, modified_at=modified_at, is_new=is_new)

    async def _command(self, place: Place, copy: StoredCopy) -> StoredCopy:
        if await COMMANDS.find(self.store, place.key) is None:
            raise KeyError(place.key)
        return replace(copy, said=UNDESCRIBED, read=UNDESCRIBED)

    async def _file_meta(self, place: Place) -> Beginning:
        """Return the beginning of an instance that has lost its envelope, as its own bytes tell it."""
        Identity.of(place.key)
        chunks = self.pace.paced(self.store.read(place.bucket, place.key, 0, MAX_BEGINNING_BYTES))
        async with aclosing(chunks):
            meta = split_part10(b"".join([chunk async for chunk in chunks]))
        return Beginning(meta.transfer_syntax, meta.prefix_length)
