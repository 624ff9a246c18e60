"""What cannot be shown is kept aside: its bytes under their hash, up to a quota, and an event that tells of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from operators.errors import Rejected, Unavailable
from operators.store import quarantine
from operators.store.ports import EventLog, ObjectStore, StoredObject, Upload
from schemas.objects import Bucket
from schemas.telemetry import GATEWAY_QUARANTINE_BYTES, GATEWAY_QUARANTINE_FULL, GATEWAY_QUARANTINED
from schemas.topics import INSTANCE_QUARANTINED

LOOK_AGAIN_S = 10.0
# An object takes this much of a quota at least: small ones cost the store, and who lists them, no less.
LEAST_BYTES = 4096

log = structlog.get_logger()


@dataclass(frozen=True)
class Rules:
    """How long what was refused is kept, how many bytes of it for each tenant, how often the store is looked into."""

    kept: timedelta
    quota_bytes: int
    look_s: float


class Quarantine:
    """Keeps what was rejected. The store's own lifecycle rule removes it when its time is over."""

    def __init__(self, store: ObjectStore, events: EventLog, rules: Rules) -> None:
        self._store = store
        self._events = events
        self._rules = rules
        self._fullness = Fullness(rules.quota_bytes)
        self._tenants: set[str] = set()

    async def keep(self, upload: Upload, reason: str) -> None:
        """Keep an object, whose key is tenant/hash, and tell of it; what is there stays as it is, and is told of again.

        What is there has the prefix, and the time, of its first arrival.

        Raises Rejected("quarantine-full") when it is more than the tenant's quota leaves room for, Unavailable when
        store or broker do not answer in time.
        """
        upload = replace(upload, envelope=replace(upload.envelope, reason=reason))
        stored = await self._put(upload)
        await self._events.publish(INSTANCE_QUARANTINED, quarantine.held(stored, self._rules.kept))
        GATEWAY_QUARANTINED.labels(reason).inc()

    async def _put(self, upload: Upload) -> StoredObject:
        """Return what lies under the key: the upload, or what was there."""
        tenant, data_hash = quarantine.names(upload.key)
        try:
            with self._fullness.taken(tenant, upload.size_bytes) as taken:
                taken.is_kept = await self._store.put(Bucket.QUARANTINE, upload)
        except Rejected as error:
            # What is there takes no room once more.
            if stored := await self._store.head(Bucket.QUARANTINE, upload.key):
                return stored
            GATEWAY_QUARANTINE_FULL.inc()
            rejected = upload.envelope.reason
            log.warning("quarantine_full", reason=error.reason, tenant=tenant, hash=data_hash, rejected=rejected)
            raise
        if taken.is_kept:
            return StoredObject(upload.key, upload.size_bytes, upload.envelope)
        stored = await self._store.head(Bucket.QUARANTINE, upload.key)
        if stored is None:
            raise Unavailable("store-object-went")
        return stored

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look again and again how full it is, until cancelled; until the first look it counts as empty."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("quarantine_not_seen", what=error.what)
                await sleep(min(LOOK_AGAIN_S, self._rules.look_s))
            else:
                await sleep(self._rules.look_s)

    async def look(self) -> None:
        """Count what lies in the store; raises Unavailable."""
        before = self._fullness.kept()
        found: Counter[str] = Counter()
        async for key, size_bytes in self._store.sizes(Bucket.QUARANTINE):
            tenant, _ = quarantine.names(key)
            found[tenant] += max(size_bytes, LEAST_BYTES)
        self._fullness.counted(found, before)
        self._tenants |= found.keys()
        for tenant in self._tenants:
            GATEWAY_QUARANTINE_BYTES.labels(tenant).set(found[tenant])


@dataclass
class Taken:
    """Room that was taken for an object; given back unless that is kept."""

    is_kept: bool = False


class Fullness:
    """How many bytes of each tenant are kept, as far as this process knows: those it counted, and its own since.

    Others add too, and what is added while it counts may be counted twice: the next count corrects both.
    """

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._counted: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        # What a count that begins now may miss, although it is kept when the count ends.
        self._on_their_way: Counter[str] = Counter()

    @contextmanager
    def taken(self, tenant: str, size_bytes: int) -> Iterator[Taken]:
        """Take room for as long as this is entered, and for good if it is kept; raises Rejected("quarantine-full")."""
        size_bytes = max(size_bytes, LEAST_BYTES)
        known = self._counted[tenant] + self._kept[tenant] + self._on_their_way[tenant]
        if known + size_bytes > self._quota_bytes:
            raise Rejected("quarantine-full")
        taken = Taken()
        self._on_their_way[tenant] += size_bytes
        try:
            yield taken
        finally:
            self._on_their_way[tenant] -= size_bytes
            if taken.is_kept:
                self._kept[tenant] += size_bytes

    def kept(self) -> Mapping[str, int]:
        """Return what was kept since the last count."""
        return self._kept.copy()

    def counted(self, found: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Take a count that began when so much was kept."""
        self._counted = Counter(found)
        self._kept.subtract(before)
