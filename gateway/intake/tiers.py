"""The instances in the object store, whichever tier holds them: new ones enter the hot tier, a mover may take them colder.

The same content must never be stored twice: its event would then name the second object's size and offsets, and
readers would find the first object. A PUT that is conditional on its key sees the hot tier alone. Therefore the
colder tiers are asked before the PUT, not after it: an object that was put by mistake could not be removed again
without breaking the repeat of another sender. Only tiers in use are asked. While the hot tier is the only one, a new
instance costs one PUT and nothing else; each colder tier costs it one look-up more, all at once, before the PUT (two
HEADs at an S3 store, where the second tells a missing object from a missing bucket). An object is not lost from sight
while it is moved, for a mover deletes the old copy minutes after the new copy is complete.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from operators.errors import Unavailable
from operators.store.ports import ObjectStore, StoredObject, Upload
from schemas.objects import TIERS, Bucket

# What the PUT (5 s without progress) and the event (9 s) leave of the 15 s in which a sender is answered after a fault.
LOOKUP_S = 1.0


@dataclass(frozen=True)
class TieredObject:
    """A stored instance, and the bucket of its tier."""

    bucket: Bucket
    stored: StoredObject


class TieredStore:
    """The tiers of one object store. Every method raises Unavailable when the store does not answer in time."""

    def __init__(self, store: ObjectStore, in_use: Sequence[Bucket] = (Bucket.HOT,)) -> None:
        self._store = store
        self._colder = tuple(bucket for bucket in in_use if bucket is not Bucket.HOT)

    async def put(self, upload: Upload) -> bool:
        """Store an object in the hot tier unless its key is there; True if it is now stored, False if it already was."""
        return await self._store.put(Bucket.HOT, upload)

    async def find_moved(self, key: str) -> TieredObject | None:
        """Return the object of this key in a colder tier that is in use; None, without a request, if none is in use."""
        if not self._colder:
            return None
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await asyncio.gather(*(self._head(bucket, key) for bucket in self._colder))
        except TimeoutError as error:
            raise Unavailable("slow") from error
        return next(filter(None, found), None)

    async def find(self, key: str) -> TieredObject | None:
        """Return the object of this key from the first tier that has it, in use or not; None if no tier has it."""
        for bucket in TIERS.values():
            if found := await self._head(bucket, key):
                return found
        return None

    def read(self, found: TieredObject, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the object's bytes up to `end`, exclusive; raises KeyError when it is no longer there."""
        return self._store.read(found.bucket, found.stored.key, 0, end)

    async def _head(self, bucket: Bucket, key: str) -> TieredObject | None:
        stored = await self._store.head(bucket, key)
        return None if stored is None else TieredObject(bucket, stored)
