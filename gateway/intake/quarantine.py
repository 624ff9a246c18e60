"""The quarantine of instances that cannot be read: stored under their hash, up to a quota, each with an event."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from gateway.intake.deadlines import ANNOUNCE_S, within
from gateway.intake.repeats.inspection import INSPECTED_AT_ONCE_BYTES, NO_ENVELOPE, damage_of_chunks, report_damage
from operators.errors import Rejected, Unavailable
from operators.retrieval.reading import expected_of
from operators.store import quarantine
from operators.store.ports import EventLog, NoEnvelope, ObjectStore, StoredObject, Upload
from schemas.objects import DATA_HASH, TENANT, Bucket
from schemas.telemetry import (
    GATEWAY_QUARANTINE_BYTES,
    GATEWAY_QUARANTINE_FULL,
    GATEWAY_QUARANTINE_QUOTA_BYTES,
    GATEWAY_QUARANTINED,
)
from schemas.topics import INSTANCE_QUARANTINED

MEASURE_AGAIN_S = 10.0
# The least that an object takes of a quota: a smaller object costs the store and readers of lists as much.
LEAST_BYTES = 4096

log = structlog.get_logger()


@dataclass(frozen=True)
class QuarantineRules:
    """How long an object is kept, how many bytes each tenant may have, how often the store is measured."""

    kept: timedelta
    quota_bytes: int
    measure_s: float


class Quarantine:
    """The quarantine of all tenants, as one process sees it. The store's lifecycle rule removes old objects."""

    def __init__(self, store: ObjectStore, events: EventLog, rules: QuarantineRules) -> None:
        self._store = store
        self._events = events
        self._rules = rules
        self._quota = Quota(rules.quota_bytes)
        GATEWAY_QUARANTINE_QUOTA_BYTES.set(rules.quota_bytes)
        self._tenants: set[str] = set()
        # How many objects the last measurement found under keys that are none of a quarantine.
        self._unknown = 0

    async def keep(self, upload: Upload, reason: str) -> None:
        """Store a refused object under its key, tenant/hash, and publish its event.

        An object that is already there is left untouched, with the prefix and the time of its first arrival, and its
        event is published again; a damaged one is replaced. Raises Rejected("quarantine-full") when the object is new
        and the tenant's quota leaves no room for it, Unavailable when store or broker do not answer in time.
        """
        upload = replace(upload, envelope=replace(upload.envelope, reason=reason))
        is_new, full = False, None
        try:
            is_new = await self._put(upload)
        except Rejected as error:
            # An object that is stored already takes no more room.
            full = error
        async with within(ANNOUNCE_S):
            stored = _stored(upload) if is_new else await self._earlier(upload, full)
            await self._events.publish(INSTANCE_QUARANTINED, quarantine.held(stored, self._rules.kept))
        GATEWAY_QUARANTINED.labels(reason).inc()

    async def _put(self, upload: Upload) -> bool:
        """Store the object unless its key exists; True if it is new. Raises Rejected("quarantine-full")."""
        tenant, _ = quarantine.tenant_and_hash(upload.key)
        with self._quota.reserved(tenant, upload.size_bytes) as reservation:
            reservation.is_used = await self._store.put(Bucket.QUARANTINE, upload)
        return reservation.is_used

    async def _earlier(self, upload: Upload, full: Rejected | None) -> StoredObject:
        """Return the object under the upload's key, once it is whole; raises `full` if there is none."""
        try:
            stored = await self._store.head(Bucket.QUARANTINE, upload.key)
        except NoEnvelope as error:
            return await self._replaced(upload, error.etag, NO_ENVELOPE)
        if stored is not None:
            reason = await self._damage(stored)
            return await self._replaced(upload, stored.etag, reason) if reason else stored
        if full is None:
            raise Unavailable("store-object-went")
        _log_full(upload)
        raise full

    async def _damage(self, stored: StoredObject) -> str:
        """Return why an object is damaged, or ""; of a large one HEAD is believed, for its sender is told that it failed."""
        if stored.size_bytes > INSPECTED_AT_ONCE_BYTES:
            return ""
        _, data_hash = quarantine.tenant_and_hash(stored.key)
        return await damage_of_chunks(self._store.read(Bucket.QUARANTINE, stored.key), expected_of(stored, data_hash))

    async def _replaced(self, upload: Upload, etag: str, reason: str) -> StoredObject:
        """Replace a damaged object by the same content, which is held from now on; its bytes are not kept."""
        report_damage(upload.key, reason, bucket=Bucket.QUARANTINE)
        if not await self._store.replace(Bucket.QUARANTINE, upload, etag):
            raise Unavailable("store-object-changes")
        return _stored(upload)

    async def keep_aside(self, upload: Upload) -> None:
        """Store what can be read of a damaged object of the archive, under a key of quarantine.damaged_key().

        It has no event and no place in the catalog, since there is nothing to decide, and counts against no quota,
        since no sender is the cause. Raises Unavailable.
        """
        await self._store.put(Bucket.QUARANTINE, upload)

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Measure the quarantine every measure_s until cancelled; before the first measurement it counts as empty."""
        while True:
            try:
                await self.measure()
            except Unavailable as error:
                log.warning("quarantine_not_measured", what=error.what, why=error.why)
                await sleep(min(MEASURE_AGAIN_S, self._rules.measure_s))
            else:
                await sleep(self._rules.measure_s)

    async def measure(self) -> None:
        """Add up the bytes that each tenant has in the store; raises Unavailable."""
        before = self._quota.used()
        found: Counter[str] = Counter()
        unknown = 0
        async for each in self._store.listing(Bucket.QUARANTINE):
            tenant, data_hash = quarantine.tenant_and_hash(each.key)
            if TENANT.fullmatch(tenant) and DATA_HASH.fullmatch(data_hash):
                found[tenant] += max(each.size_bytes, LEAST_BYTES)
            elif not quarantine.is_damaged_key(each.key):
                # This archive has not stored it, and its key may hold anything: not a name for a metric or a log line.
                unknown += 1
        self._note_unknown(unknown)
        self._quota.measured(found, before)
        self._tenants |= found.keys()
        for tenant in self._tenants:
            GATEWAY_QUARANTINE_BYTES.labels(tenant).set(found[tenant])

    def _note_unknown(self, objects: int) -> None:
        if objects != self._unknown:
            log.warning("quarantine_keys_unknown", objects=objects)
        self._unknown = objects


def _stored(upload: Upload) -> StoredObject:
    return StoredObject(upload.key, upload.size_bytes, upload.envelope)


def _log_full(upload: Upload) -> None:
    GATEWAY_QUARANTINE_FULL.inc()
    tenant, data_hash = quarantine.tenant_and_hash(upload.key)
    log.warning("quarantine_full", tenant=tenant, hash=data_hash, rejected=upload.envelope.reason)


@dataclass
class Reservation:
    """Room that is reserved for an object, and freed after the block unless the object uses it."""

    is_used: bool = False


class Quota:
    """The bytes that each tenant has in quarantine, as far as this process knows: those it measured, and added since.

    Other processes add too, and an object that is added during a measurement may count twice: the next measurement
    corrects both.
    """

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._measured: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        # The bytes of objects that are being stored: a measurement that begins now may miss them.
        self._reserved: Counter[str] = Counter()

    @contextmanager
    def reserved(self, tenant: str, size_bytes: int) -> Iterator[Reservation]:
        """Reserve room during the block, and keep it if it is used; raises Rejected("quarantine-full")."""
        size_bytes = max(size_bytes, LEAST_BYTES)
        known = self._measured[tenant] + self._used[tenant] + self._reserved[tenant]
        if known + size_bytes > self._quota_bytes:
            raise Rejected("quarantine-full")
        reservation = Reservation()
        self._reserved[tenant] += size_bytes
        try:
            yield reservation
        finally:
            self._reserved[tenant] -= size_bytes
            if reservation.is_used:
                self._used[tenant] += size_bytes

    def used(self) -> Mapping[str, int]:
        """Return the bytes that each tenant added since the last measurement."""
        return self._used.copy()

    def measured(self, found: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Take over the bytes that a measurement found; `before` is what `used` returned when it began."""
        self._measured = Counter(found)
        self._used.subtract(before)
