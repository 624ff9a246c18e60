"""The work of rebuild: publish again what the objects of a study tell: its commands, its instances, its transfers' ends.

Objects are read ahead, many at a time, also those of the next studies; but one study is published at a time, and noted
as finished before the next one begins. So a worker that is killed repeats the events of one study at most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import structlog

from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Rejected, Unavailable, Unreadable
from operators.rebuild.transfers import RebuiltTransfers
from operators.store import quarantine
from operators.store.commands import COMMANDS
from operators.store.policies import newest_since, publish_newest, versions
from operators.store.ports import EventLog, ObjectStore
from pipelines.batch import walk
from pipelines.batch.ahead import results_in_order
from pipelines.batch.journal import Finished
from pipelines.batch.rebuild.reading import FOREIGN_KEY, GONE, InstanceReader
from pipelines.batch.running import Shift
from pipelines.batch.servers import BatchServers
from pipelines.batch.walk import StudyFolder
from schemas.events import Event, InstanceStored
from schemas.objects import DATA_HASH, TENANT, Bucket, commands_prefix, policy_key
from schemas.topics import POLICY_CHANGED, TOPICS

TOPIC_OF = {topic.event: topic for topic in TOPICS}
# What is counted of each event that is published.
COUNTED_AS = {
    "InstanceStored": "instances",
    "StudyCommand": "commands",
    "TransferEnded": "transfers",
    "InstanceQuarantined": "quarantined",
    "PolicyChanged": "policies",
}
# What is counted of a study besides its events. What lies in quarantine is in no study.
STUDIES, OBJECTS = "studies", "objects"
UNREADABLE = "object-unreadable"
# How many events of a prefix are published together: those of a study as a rule, which lie in one partition and so share
# one request. An event has 512 KiB at most, and 1 KiB as a rule; more might not find room in the client's queue.
PUBLISHED_AT_ONCE = 100
# How long a worker goes on trying without having finished a study, and how long it waits between two attempts.
PATIENCE_S = 120.0
WAITS_S = (0.5, 1.0, 2.0, 5.0)


log = structlog.get_logger()


class Item(NamedTuple):
    """An object to read, under the prefix to which it belongs; without `read` it is the end of that prefix."""

    prefix: str
    key: str = ""
    read: Callable[[], Awaitable[Event]] | None = None


class Result(NamedTuple):
    """The event of an item, or why it has none; neither at the end of a prefix."""

    item: Item
    event: Event | None = None
    reason: str = ""


@dataclass(frozen=True)
class Rebuild:
    """The work itself. `opened` opens the servers in a worker; `kept` is how long the store keeps what is in quarantine."""

    opened: Callable[[], AbstractAsyncContextManager[BatchServers]]
    kept: timedelta
    limits: ScanLimits = LIMITS
    at_once: int = 32
    patience_s: float = PATIENCE_S

    async def __call__(self, shift: Shift) -> None:
        """Publish again what the objects of a share tell; raises Unavailable when a server stays away for too long."""
        async with self.opened() as servers:
            await _persistently(lambda: self._rebuild(shift, servers), lambda: len(shift.finished), self.patience_s)

    async def _rebuild(self, shift: Shift, servers: BatchServers) -> None:
        await _publish_policies(shift, servers)
        reader = ObjectReader(servers.store, InstanceReader(servers.store, self.limits), self.kept)
        items = reader.items(shift)
        async with results_in_order(items, reader.result, self.at_once) as results:
            prefix = PrefixPublisher(servers.events)
            async for result in results:
                if result.item.read is not None:
                    await prefix.add(result)
                    continue
                shift.journal.finish(await prefix.finished(result.item))
                prefix = PrefixPublisher(servers.events)


@dataclass(frozen=True)
class ObjectReader:
    """The reading of every kind of object that has an event."""

    store: ObjectStore
    instances: InstanceReader
    kept: timedelta

    async def items(self, shift: Shift) -> AsyncIterator[Item]:
        """Yield the objects of a share prefix by prefix, each prefix with its end; those that are finished are left out."""
        if not shift.selection.study_uid:
            async for item in self._quarantined(shift):
                yield item
        async for study in walk.studies(self.store, shift.selection, shift.share):
            if study.prefix not in shift.finished:
                async for item in self._study(study):
                    yield item
                yield Item(study.prefix)

    async def result(self, item: Item) -> Result:
        """Read an item; raises Unavailable."""
        if item.read is None:
            return Result(item)
        try:
            return Result(item, await item.read())
        except Rejected as error:
            return Result(item, reason=error.reason)
        except Unreadable:
            # A store that ails as a whole answers so too; then the check raises.
            await self.store.check()
            return Result(item, reason=UNREADABLE)

    async def _study(self, study: StudyFolder) -> AsyncIterator[Item]:
        """Yield a study's commands, then its instances: what is deleted is not shown for a moment first."""
        commands = commands_prefix(study.tenant, study.study_uid)
        async for key in self.store.keys(Bucket.HOT, commands):
            yield Item(study.prefix, key, partial(self._command, key))
        async for found in walk.objects(self.store, study):
            if not found.key.startswith(commands):
                yield Item(study.prefix, found.key, partial(self.instances.event, found.key, found.tiers))

    async def _command(self, key: str) -> Event:
        found = await COMMANDS.find(self.store, key)
        if found is None:
            raise Rejected(GONE)
        return found

    async def _quarantined(self, shift: Shift) -> AsyncIterator[Item]:
        for tenant in await walk.tenants(self.store, shift.selection, [Bucket.QUARANTINE]):
            folder = StudyFolder(walk.QUARANTINE, tenant, ())
            if not folder.is_in(shift.share) or folder.prefix in shift.finished:
                continue
            async for listed in self.store.listing(Bucket.QUARANTINE, f"{tenant}/"):
                if shift.selection.has_moment(listed.modified_at) and not quarantine.is_damaged_key(listed.key):
                    yield Item(folder.prefix, listed.key, partial(self._held, listed.key))
            yield Item(folder.prefix)

    async def _held(self, key: str) -> Event:
        tenant, data_hash = quarantine.tenant_and_hash(key)
        if not (TENANT.fullmatch(tenant) and DATA_HASH.fullmatch(data_hash)):
            raise Rejected(FOREIGN_KEY)
        stored = await self.store.head(Bucket.QUARANTINE, key)
        if stored is None:
            raise Rejected(GONE)
        return quarantine.held(stored, self.kept)


@dataclass
class PrefixPublisher:
    """The events of one prefix: they are kept until there are enough to share a request, or the prefix ends."""

    events: EventLog
    kept: list[Event] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    transfers: RebuiltTransfers = field(default_factory=RebuiltTransfers)

    async def add(self, result: Result) -> None:
        """Take an object's event, or note why it has none."""
        self.counts[OBJECTS] += 1
        if result.event is None:
            self.left_out[result.item.key] = result.reason
            return
        if isinstance(result.event, InstanceStored):
            self.transfers.add(result.event)
        self.kept.append(result.event)
        if len(self.kept) >= PUBLISHED_AT_ONCE:
            await self._publish()

    async def finished(self, end_of: Item) -> Finished:
        """Publish what is kept, and the ends of the prefix's transfers; return what was done, once it is there.

        Topics have no order among each other, so the ends need not wait until the instances are there.
        """
        self.kept += self.transfers.ends()
        await self._publish()
        if end_of.prefix.startswith(f"{walk.QUARANTINE}/"):
            del self.counts[OBJECTS]
        else:
            self.counts[STUDIES] += 1
        return Finished(end_of.prefix, dict(self.counts), self.left_out)

    async def _publish(self) -> None:
        """Return once the broker has all events that are kept; they are in the order in which they came."""
        kept, self.kept = self.kept, []
        self.counts.update(COUNTED_AS[type(event).__name__] for event in kept)
        await asyncio.gather(*(self.events.publish(TOPIC_OF[type(event)], event) for event in kept))


async def _publish_policies(shift: Shift, servers: BatchServers) -> None:
    """Publish the newest version of each policy of the share's tenants."""
    if shift.selection.study_uid:
        return
    for tenant in await walk.tenants(servers.store, shift.selection):
        folder = StudyFolder(tenant, walk.POLICIES, ())
        if TENANT.fullmatch(tenant) and folder.is_in(shift.share) and folder.prefix not in shift.finished:
            shift.journal.finish(await _policies_published(folder.prefix, tenant, servers))


async def _policies_published(prefix: str, tenant: str, servers: BatchServers) -> Finished:
    counts, left_out = Counter[str](), dict[str, str]()
    for (kind, name), numbers in sorted((await versions(servers.store, tenant)).items()):
        key = policy_key(tenant, kind, name, numbers[-1])
        publish = partial(servers.events.publish, POLICY_CHANGED)
        try:
            await publish_newest(publish, partial(newest_since, servers.store, key))
            counts["policies"] += 1
        except Rejected as error:
            left_out[key] = error.reason
        except Unreadable:
            await servers.store.check()
            left_out[key] = UNREADABLE
    return Finished(prefix, dict(counts), left_out)


async def _persistently(attempt: Callable[[], Awaitable[None]], progress: Callable[[], int], patience_s: float) -> None:
    """Attempt work again after each Unavailable, until it is done, or no progress was made for so long."""
    waits, before, deadline = iter(WAITS_S), -1, 0.0
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            if progress() != before:
                waits, before, deadline = iter(WAITS_S), progress(), time.monotonic() + patience_s
                log.warning("rebuild_waits", server=error.what, why=error.why, patience_s=patience_s)
            elif time.monotonic() > deadline:
                raise
        await asyncio.sleep(next(waits, WAITS_S[-1]))
