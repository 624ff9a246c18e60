"""Bytes out of the store, as the catalog says where they lie, and only when they are those that were stored."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256

import structlog

from api.http.problems import Damaged, not_found
from api.http.streaming import closing
from api.services import Services
from operators.catalog.ports import Location
from operators.errors import Unavailable
from schemas.objects import Bucket
from schemas.telemetry import API_DAMAGED

TIERS = {"hot": Bucket.HOT, "warm": Bucket.WARM, "cold": Bucket.COLD}
# Up to this size an object is checked before its first byte goes out, so that damage is an answer, not a broken one.
CHECKED_FIRST_BYTES = 4 * 2**20

log = structlog.get_logger()


async def whole(services: Services, tenant: str, location: Location) -> AsyncGenerator[bytes, None]:
    """Stream an object and check its size and data hash; the last bytes are held back until they are right.

    Raises Damaged, in the middle for a large object: the response must then break off.
    """
    checker = _Checker(location)
    held: list[bytes] = []
    async with aclosing(read(services, tenant, location, 0, location.size_bytes)) as chunks:
        async for chunk in chunks:
            checker.update(chunk)
            if location.size_bytes > CHECKED_FIRST_BYTES and held:
                yield held.pop()
            held.append(chunk)
    checker.check()
    yield held[0] if len(held) == 1 else b"".join(held)


async def part(services: Services, tenant: str, location: Location, start: int, end: int) -> bytes:
    """Return the object's bytes from start to end (exclusive); raises Damaged when it is shorter."""
    return b"".join([chunk async for chunk in exactly(services, tenant, location, start, end)])


async def exactly(
    services: Services, tenant: str, location: Location, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """Stream a range of the object; raises Damaged at its end when the object is shorter."""
    size = 0
    async with aclosing(read(services, tenant, location, start, end)) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            yield chunk
    if size != end - start:
        raise damaged("object-short", location)


async def read(
    services: Services, tenant: str, location: Location, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """Stream a range of the object; when it is not there, look once where the catalog says it is now."""
    try:
        async with closing(services.objects.read(TIERS[location.tier], location.object_key, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
    except KeyError:
        moved = await _moved(services, tenant, location)
    else:
        return
    try:
        async with closing(services.objects.read(TIERS[moved.tier], moved.object_key, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
    except KeyError:
        raise damaged("object-missing", moved) from None


def damaged(reason: str, location: Location) -> Damaged:
    """Count and log an object that is not what was stored, and give the answer."""
    API_DAMAGED.labels(reason).inc()
    log.error(reason, study_uid=location.study_uid, sop_uid=location.sop_uid, tier=location.tier)
    return Damaged(reason)


async def _moved(services: Services, tenant: str, location: Location) -> Location:
    moved = await services.queries.locate_one(tenant, location.study_uid, location.series_uid, location.sop_uid)
    if moved is None:
        raise not_found("instance")
    if (moved.data_hash, moved.prefix_hash) != (location.data_hash, location.prefix_hash):
        raise Unavailable("instance")  # other content is shown now: the next request gets it
    return moved


class _Checker:
    """Hashes an object as it passes: its prefix by itself; the transfer syntax, a zero byte and the data set."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._prefix = sha256()
        self._data = sha256(location.transfer_syntax.encode() + b"\0")
        self._size = 0

    def update(self, chunk: bytes) -> None:
        skip = max(self._location.prefix_length - self._size, 0)
        self._prefix.update(memoryview(chunk)[:skip])
        self._data.update(memoryview(chunk)[skip:])
        self._size += len(chunk)

    def check(self) -> None:
        if self._size != self._location.size_bytes:
            raise damaged("object-short", self._location)
        found = self._prefix.hexdigest(), self._data.hexdigest()
        if found != (self._location.prefix_hash, self._location.data_hash):
            raise damaged("object-altered", self._location)
