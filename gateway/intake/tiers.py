"""The instances in the tiers of the object store: new instances enter the hot tier, and may be moved to colder tiers.

The same content must never be stored twice: its event would name the size and offsets of the second object, and
readers would find the first. A PUT that is conditional on its key sees only the hot tier, so the colder tiers in use
are asked too. They are asked before the PUT, not after it: an object that was put by mistake could not be removed
without breaking the repeat of another sender. If only the hot tier is in use, a new instance costs one PUT. Each colder
tier costs one look-up more; all look-ups run at once before the PUT (at an S3 store a look-up is two HEADs: the second
tells a missing object from a missing bucket). A look-up finds an object that is being moved, since the old copy is
deleted minutes after the new copy is complete.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from gateway.intake.deadlines import LOOKUP_S, within
from operators.store.commands import COMMANDS
from operators.store.policies import newest_since
from operators.store.ports import NoEnvelope, ObjectStore, PlainUpload, Upload
from schemas.events import PolicyChanged, StudyCommand
from schemas.objects import TIERS, Bucket, Envelope, Identity, commands_prefix


@dataclass(frozen=True)
class TieredObject:
    """A stored instance as HEAD describes it: the bucket of its tier, key, size, the store's tag, its envelope.

    The envelope is None when the object's metadata are lost or were never there. `modified_at` is when the store took
    the object, cut to the second.
    """

    bucket: Bucket
    key: str
    size_bytes: int
    etag: str
    envelope: Envelope | None
    modified_at: datetime | None = None


class TieredStore:
    """The tiers of one object store. Every method raises Unavailable when the store does not answer in time."""

    def __init__(self, store: ObjectStore, in_use: Sequence[Bucket] = (Bucket.HOT,)) -> None:
        self._store = store
        self._colder = tuple(bucket for bucket in in_use if bucket is not Bucket.HOT)

    def put(self, upload: PlainUpload) -> Awaitable[bool]:
        """Store an object in the hot tier unless its key exists there; True if the object is new."""
        return self._store.put(Bucket.HOT, upload)

    async def find_moved(self, key: str) -> TieredObject | None:
        """Return the object of this key in a colder tier that is in use; None, without a request, if none is in use."""
        if not self._colder:
            return None
        async with within(LOOKUP_S):
            found = await asyncio.gather(*(self._head(bucket, key) for bucket in self._colder))
        return next(filter(None, found), None)

    async def find(self, key: str) -> TieredObject | None:
        """Return the object of this key from the first tier that has it, in use or not; None if no tier has it."""
        for bucket in TIERS.values():
            if found := await self._head(bucket, key):
                return found
        return None

    async def identities(self, tenant: str, study_uid: str) -> AsyncIterator[Identity]:
        """Yield each content of a study's instances that a tier has; one that is being moved may come twice."""
        commands = commands_prefix(tenant, study_uid)
        for bucket in TIERS.values():
            async for key in self._store.keys(bucket, f"{tenant}/{study_uid}/"):
                # Keys that are not this archive's name no content.
                with suppress(ValueError):
                    if not key.startswith(commands):
                        yield Identity.of(key)

    async def command_keys(self, tenant: str, study_uid: str) -> list[str]:
        """Return the keys of a study's commands. They stay in the hot tier."""
        return [key async for key in self._store.keys(Bucket.HOT, commands_prefix(tenant, study_uid))]

    async def command(self, key: str) -> StudyCommand | None:
        """Return the command of this key, None if there is none; raises Rejected for an object that is no command."""
        return await COMMANDS.find(self._store, key)

    async def policy(self, key: str) -> PolicyChanged | None:
        """Return the newest version of the policy of this key, None if it is older than the key's; raises Rejected."""
        return await newest_since(self._store, key)

    def read(self, found: TieredObject, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Stream the object's bytes up to `end`, exclusive.

        Raises KeyError when it is no longer there, Unreadable when the store does not give all of them.
        """
        return self._store.read(found.bucket, found.key, 0, end)

    def replace(self, found: TieredObject, upload: Upload) -> Awaitable[bool]:
        """Store an object in place of the one that was found, in its tier; False when that one is not there any more."""
        return self._store.replace(found.bucket, upload, found.etag)

    async def check(self) -> None:
        """Return when the store answers and has every bucket."""
        await self._store.check()

    async def _head(self, bucket: Bucket, key: str) -> TieredObject | None:
        try:
            stored = await self._store.head(bucket, key)
        except NoEnvelope as error:
            return TieredObject(bucket, key, error.size_bytes, error.etag, None)
        if stored is None:
            return None
        return TieredObject(bucket, key, stored.size_bytes, stored.etag, stored.envelope, stored.modified_at)
