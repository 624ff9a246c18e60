"""The inspection of a stored object: all its bytes are read and hashed, for a store knows only what it was told.

What can be read of a damaged object is kept aside before anything replaces the object. MinIO answers HEAD as ever for
an object whose bytes are altered, cut short or gone on its disk, and fails to give them. A store that does not check its
disk gives the wrong bytes.
"""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from gateway.intake.spool import Body, Room, SpoolLimits
from gateway.intake.tiers import TieredObject, TieredStore
from operators.errors import Unavailable, Unreadable
from operators.retrieval.reading import ExpectedBytes, damage_of, expected_of
from operators.store import checksum, quarantine
from operators.store.ports import StoredObject, Upload
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_DAMAGED

# A larger object is not inspected while its sender waits. This much is read from MinIO and hashed in 0.4 s on two
# cores; ANNOUNCE_S has room for a store of 40 MB/s.
INSPECTED_AT_ONCE_BYTES = 256 * 2**20

UNREADABLE = "object-unreadable"
NO_ENVELOPE = "no-envelope"

Keep = Callable[[bytes], object]

log = structlog.get_logger()


@dataclass(frozen=True)
class Inspector:
    """The inspection of objects; `keep_aside` stores what can be read of a damaged one."""

    tiers: TieredStore
    keep_aside: Callable[[Upload], Awaitable[None]]
    room: Room
    limits: SpoolLimits

    async def inspect(self, found: TieredObject, envelope: Envelope) -> str:
        """Return "" for an object that is whole; else why it is damaged, once what can be read of it is kept aside.

        An object counts as damaged when it is read twice in vain: the store may fail once. `envelope` is kept with its
        bytes if it has none of its own. Raises Unavailable when the store does not answer, or the object is gone.
        """
        if not await damage_of_object(self.tiers, found):
            return ""
        # Nothing is refused for its size here: these bytes are not a sender's.
        limits = replace(self.limits, most_bytes=sys.maxsize)
        with closing(Body(b"", sha256(), self.room, limits)) as body:
            if reason := await damage_of_object(self.tiers, found, lambda chunk: body.write(memoryview(chunk))):
                aside = await self._keep(found, body, replace(found.envelope or envelope, reason=reason))
                report_damage(found.key, reason, bucket=found.bucket, aside=aside, aside_bytes=body.size_bytes)
        return reason

    async def _keep(self, found: TieredObject, body: Body, envelope: Envelope) -> str:
        """Keep the bytes of a damaged object aside; return their key in the quarantine."""
        if body.failed is not None:
            raise body.failed
        identity = Identity.of(found.key)
        key = quarantine.damaged_key(identity.tenant, identity.data_hash, body.data_hash)
        crc32c = checksum.written(body.crc32c)
        with body.opened() as data:
            await self.keep_aside(Upload(key, (memoryview(data),), body.size_bytes, crc32c, envelope))
        return key


async def damage_of_object(tiers: TieredStore, found: TieredObject, keep: Keep = lambda _: None) -> str:
    """Read an object to its end; return why it is damaged, or "". `keep` is called with each chunk.

    Raises Unavailable when the store does not answer, or the object is gone.
    """
    damage = await damage_of_chunks(_kept(tiers.read(found), keep), _expected(found))
    return damage if found.envelope or damage == UNREADABLE else NO_ENVELOPE


async def damage_of_chunks(chunks: AsyncGenerator[bytes, None], expected: ExpectedBytes) -> str:
    """Read an object's chunks to their end; return why they are not the expected bytes, or "". Raises Unavailable."""
    try:
        return await damage_of(chunks, expected)
    except Unreadable:
        return UNREADABLE
    except KeyError as error:
        raise Unavailable("store-object-went") from error


def report_damage(key: str, reason: str, **more: object) -> None:
    """Count and log a damaged object."""
    GATEWAY_DAMAGED.labels(reason).inc()
    log.error("stored_object_damaged", key=key, reason=reason, **more)


def _expected(found: TieredObject) -> ExpectedBytes:
    """Return what the object's bytes should be; without an envelope nothing can equal it."""
    data_hash = Identity.of(found.key).data_hash
    if found.envelope is None:
        return ExpectedBytes(found.size_bytes, "", 0, "", data_hash)
    return expected_of(StoredObject(found.key, found.size_bytes, found.envelope), data_hash)


async def _kept(chunks: AsyncGenerator[bytes, None], keep: Keep) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            keep(chunk)
            yield chunk
