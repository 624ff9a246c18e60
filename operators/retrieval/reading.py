"""Reading the bytes of instances from the locations in the catalog, and verifying that they are the stored bytes."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256

import structlog

from operators.access.principal import Principal
from operators.catalog.ports import CatalogQueries, Location
from operators.dicom.instance import data_hasher
from operators.errors import Unavailable, Unreadable
from operators.integrity.comparison import ContentBytes
from operators.store.ports import NoEnvelope, ObjectStore, OtherSize, StoredObject
from schemas.objects import TIERS, Bucket
from schemas.telemetry import API_DAMAGED

# An object of at most this size is verified before its first byte is yielded, so that damage is reported as an error
# and not as a response that breaks off.
CHECKED_FIRST_BYTES = 4 * 2**20

log = structlog.get_logger()


class NotFound(Exception):
    """The archive has no such study, series or instance for this principal; `what` names the level."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Damaged(Exception):
    """A stored object is missing, or its bytes are not the bytes that were stored, or the store cannot give them.

    `reason` is object-missing, object-short, object-altered, object-unreadable, or object-marked: the verification has
    found its bytes damaged.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ExpectedBytes:
    """The size and the hashes of an object when it was stored.

    `prefix_hash` covers preamble and file meta, the first `prefix_length` bytes; `data_hash` covers the transfer
    syntax, a zero byte and the data set.
    """

    size_bytes: int
    transfer_syntax: str
    prefix_length: int
    prefix_hash: str
    data_hash: str


def expected_of(stored: StoredObject, data_hash: str) -> ExpectedBytes:
    """Return what the bytes of an object that is not in the catalog should be: its envelope and its key say so."""
    envelope = stored.envelope
    return ExpectedBytes(
        stored.size_bytes, envelope.transfer_syntax, envelope.prefix_length, envelope.prefix_hash, data_hash
    )


@dataclass(frozen=True)
class ArchiveReader:
    """The archive as one principal may read it: the catalog locates its tenant's instances, the store has their bytes.

    Every method raises Unavailable when the catalog or the store does not answer. The methods that read also raise it
    when the instance has other content than at the time it was located: locate it again then. Damage is counted and
    logged here.
    """

    principal: Principal
    queries: CatalogQueries
    store: ObjectStore

    async def locate(
        self, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
    ) -> tuple[Location, ...]:
        """Return the locations of the instances of a study or series, or of one instance; there is at least one.

        Only the location of a single instance includes its frames if they are long. Raises NotFound.
        """
        if series_uid and sop_uid:
            return (await self.locate_one(study_uid, series_uid, sop_uid),)
        locations = await self.queries.locate(self.principal.tenant, study_uid, series_uid)
        if not locations:
            raise NotFound("series" if series_uid else "study")
        return locations

    async def locate_one(self, study_uid: str, series_uid: str, sop_uid: str) -> Location:
        """Return the location of one instance, with its frames; raises NotFound."""
        location = await self.queries.locate_one(self.principal.tenant, study_uid, series_uid, sop_uid)
        if location is None:
            raise NotFound("instance")
        return location

    def stream_whole(self, location: Location) -> AsyncGenerator[bytes, None]:
        """Return an object's bytes as `verified` yields them; raises Damaged."""
        expected = ExpectedBytes(
            location.size_bytes,
            location.transfer_syntax,
            location.prefix_length,
            location.prefix_hash,
            location.data_hash,
        )
        chunks = self._chunks(location, 0, location.size_bytes)
        return verified(chunks, expected, partial(_reported_damage, location))

    async def stream_range(self, location: Location, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes from start to end (exclusive); raises Damaged when the object has another size.

        A range has no hash, so its content is not verified here: it relies on the store's own checks, and on the mark
        that the verification leaves. In an object of another size the places would be wrong.
        """
        size_bytes = 0
        async with aclosing(self._chunks(location, start, end)) as chunks:
            async for chunk in chunks:
                size_bytes += len(chunk)
                yield chunk
        if size_bytes != end - start:
            raise _reported_damage(location, "object-short")

    async def read_range(self, location: Location, start: int, end: int) -> bytes:
        """Return the object's bytes from start to end (exclusive), as `stream_range` yields them."""
        return b"".join([chunk async for chunk in self.stream_range(location, start, end)])

    async def _chunks(self, location: Location, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a range of the object from the first of its places that has it."""
        async with aclosing(self._places(location)) as places:
            async for place in places:
                try:
                    async with aclosing(self._read(place, start, end)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                except KeyError:
                    continue
                return
        raise _reported_damage(location, "object-missing")

    async def _places(self, location: Location) -> AsyncGenerator[Location, None]:
        """Yield where the object may be; each only when those before turned out not to have it.

        An object that is not at its location has moved: the catalog is asked once more. What the tier of its row has lost
        another may have. Raises Damaged.
        """
        yield await self._unmarked(location) if location.is_marked else location
        moved = await self._relocated(location)
        yield moved
        yield await self._unmarked(moved)

    async def _unmarked(self, location: Location) -> Location:
        """Return the location, or that of a copy in another tier, whose bytes are there and have no mark; raises Damaged."""
        marks = await self.queries.marks(self.principal.tenant, location.study_uid, location.object_key)
        marked = {(mark.tier, mark.modified_at) for mark in marks}
        reason = "object-missing"
        async for copy, modified_at in self._copies(location):
            if (copy.tier, modified_at) not in marked:
                return copy
            reason = "object-marked"
        raise _reported_damage(location, reason)

    async def _copies(self, location: Location) -> AsyncIterator[tuple[Location, datetime | None]]:
        """Yield the object of the location and its equals in other tiers, each with the moment when the store took it."""
        for tier in sorted(TIERS, key=lambda tier: tier != location.tier):
            copy, is_own = replace(location, tier=tier), tier == location.tier
            try:
                found = await self.store.head(TIERS[tier], location.object_key)
            except NoEnvelope as error:
                if is_own:
                    yield copy, error.modified_at
            except Unreadable:
                # A store that ails as a whole answers so too; then the check raises.
                await self.store.check()
                if is_own:
                    yield copy, None
            else:
                if found and (is_own or _is_same(found, location)):
                    yield copy, found.modified_at

    async def _read(self, location: Location, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a range of the object; when the store cannot give it, ask once more for what is left.

        A store that is well and cannot give the bytes a second time either has a damaged object.
        """
        reached = start
        try:
            async with aclosing(self._read_once(location, start, end)) as chunks:
                async for chunk in chunks:
                    reached += len(chunk)
                    yield chunk
        except Unreadable:
            await self.store.check()
        else:
            return
        try:
            async with aclosing(self._read_once(location, reached, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Unreadable:
            raise _reported_damage(location, "object-unreadable") from None

    async def _read_once(self, location: Location, start: int, end: int) -> AsyncGenerator[bytes, None]:
        bucket, size_bytes = TIERS[location.tier], location.size_bytes
        try:
            async with aclosing(
                self.store.read(bucket, location.object_key, start, end, size_bytes=size_bytes)
            ) as chunks:
                async for chunk in chunks:
                    yield chunk
        except OtherSize as error:
            reason = "object-short" if error.size_bytes < size_bytes else "object-altered"
            raise _reported_damage(location, reason) from None

    async def _relocated(self, location: Location) -> Location:
        moved = await self.locate_one(location.study_uid, location.series_uid, location.sop_uid)
        if (moved.data_hash, moved.prefix_hash) != (location.data_hash, location.prefix_hash):
            raise Unavailable("instance")
        return moved


def _is_same(found: StoredObject, location: Location) -> bool:
    """True if an object of the same key has the same prefix too, so that places in it are those of the location."""
    return (found.size_bytes, found.envelope.prefix_hash) == (location.size_bytes, location.prefix_hash)


async def read_object(
    store: ObjectStore, bucket: Bucket, key: str, expected: ExpectedBytes
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an object that is not in the catalog, as `verified` does; raises Damaged."""
    try:
        async with aclosing(verified(store.read(bucket, key), expected)) as chunks:
            async for chunk in chunks:
                yield chunk
    except KeyError:
        raise Damaged("object-missing") from None


async def verified(
    chunks: AsyncGenerator[bytes, None], expected: ExpectedBytes, error: Callable[[str], Exception] = Damaged
) -> AsyncGenerator[bytes, None]:
    """Yield an object's chunks; the last chunk only after all bytes have been verified.

    An object of at most CHECKED_FIRST_BYTES is yielded as one chunk. Of a larger object, all chunks but the last are
    yielded unverified: a caller that sends them on must break off the response when this raises Damaged. `error` makes
    the exception from its reason.
    """
    hashes = _Hashes(expected.transfer_syntax, expected.prefix_length)
    held: list[bytes] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            hashes.update(chunk)
            if expected.size_bytes > CHECKED_FIRST_BYTES and held:
                yield held.pop()
            held.append(chunk)
    if reason := _damage(hashes.content, expected):
        raise error(reason)
    yield held[0] if len(held) == 1 else b"".join(held)


async def content_of(chunks: AsyncGenerator[bytes, None], transfer_syntax: str, prefix_length: int) -> ContentBytes:
    """Read an object's chunks to their end and keep none; return what they are."""
    hashes = _Hashes(transfer_syntax, prefix_length)
    async with aclosing(chunks):
        async for chunk in chunks:
            hashes.update(chunk)
    return hashes.content


async def damage_of(chunks: AsyncGenerator[bytes, None], expected: ExpectedBytes) -> str:
    """Read an object's chunks to their end and keep none; return why they are not the expected bytes, or ""."""
    content = await content_of(chunks, expected.transfer_syntax, expected.prefix_length)
    return _damage(content, expected)


class _Hashes:
    """The size and the hashes of one object's bytes, updated chunk by chunk."""

    def __init__(self, transfer_syntax: str, prefix_length: int) -> None:
        self._prefix_length = prefix_length
        self._prefix = sha256()
        self._data = data_hasher(transfer_syntax)
        self._size_bytes = 0

    def update(self, chunk: bytes) -> None:
        prefix_left = max(self._prefix_length - self._size_bytes, 0)
        self._prefix.update(memoryview(chunk)[:prefix_left])
        self._data.update(memoryview(chunk)[prefix_left:])
        self._size_bytes += len(chunk)

    @property
    def content(self) -> ContentBytes:
        """The bytes so far."""
        return ContentBytes(self._size_bytes, self._prefix.hexdigest(), self._data.hexdigest())


def _damage(content: ContentBytes, expected: ExpectedBytes) -> str:
    """Return the reason for Damaged when the bytes are not the stored bytes; '' when they are."""
    if content.size_bytes != expected.size_bytes:
        return "object-short"
    hashes = content.prefix_hash, content.data_hash
    return "" if hashes == (expected.prefix_hash, expected.data_hash) else "object-altered"


def _reported_damage(location: Location, reason: str) -> Damaged:
    """Count and log a damaged object; return its error."""
    API_DAMAGED.labels(reason).inc()
    log.error(
        "object_damaged", reason=reason, study_uid=location.study_uid, sop_uid=location.sop_uid, tier=location.tier
    )
    return Damaged(reason)
