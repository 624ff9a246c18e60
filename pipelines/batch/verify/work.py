"""The work of verify: each study of the store, and each study of which the catalog alone knows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from operators.catalog.rows import StudyKey
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.postgres.objects import PostgresCatalogObjects
from operators.connectors.s3.store import S3ObjectStore
from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Rejected, Unreadable
from operators.integrity.comparison import REPAIRED_BY_EVENT, Finding
from operators.integrity.ports import CatalogObjects
from operators.store.commands import COMMANDS
from operators.store.ports import EventLog, ObjectStore
from pipelines.batch import walk
from pipelines.batch.rebuild.reading import InstanceReader
from pipelines.batch.running import Shift
from pipelines.batch.verify.beside import BesideStudies
from pipelines.batch.verify.copies import CopyReader, Place
from pipelines.batch.verify.findings import finished, finished_beside
from pipelines.batch.verify.pace import CpuPace
from pipelines.batch.verify.study import StudyVerifier
from pipelines.batch.walk import StudyFolder
from schemas.objects import TIERS, Bucket
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND

# How many studies of the catalog are read at a time.
PAGE = 1000

log = structlog.get_logger()


class VerifyServers(NamedTuple):
    """The store and the catalog that are compared, and the log that repairs are published to; None without repairs."""

    store: ObjectStore
    catalog: CatalogObjects
    events: EventLog | None


@asynccontextmanager
async def open_verify_servers(
    store: StoreSettings, catalog: CatalogSettings, broker: BrokerSettings | None
) -> AsyncIterator[VerifyServers]:
    """Open the servers; they belong to the event loop of the caller."""
    async with AsyncExitStack() as opened:
        objects = await opened.enter_async_context(S3ObjectStore(store))
        rows = opened.enter_context(PostgresCatalogObjects(catalog))
        events = await opened.enter_async_context(KafkaEventLog(broker)) if broker else None
        yield VerifyServers(objects, rows, events)


@dataclass(frozen=True)
class Verify:
    """The work itself. `opened` opens the servers in a worker; `limits` are those of the gateways, for events."""

    opened: Callable[[], AbstractAsyncContextManager[VerifyServers]]
    cpu_share: float
    grace_s: float
    limits: ScanLimits = LIMITS

    async def __call__(self, shift: Shift) -> None:
        """Verify the studies of a share that are not finished; raises Unavailable when a server cannot be used."""
        async with self.opened() as servers:
            await servers.store.learn_time()
            pace = CpuPace(self.cpu_share)
            verifier = StudyVerifier(CopyReader(servers.store, pace, servers.store.now, self.grace_s), servers.catalog)
            async for study in self._studies(shift, servers):
                verified = await verifier.verify(study)
                report(verified.findings)
                repaired = await self._repaired(servers, verified.findings)
                shift.journal.finish(finished(study.prefix, verified, repaired))
            beside = BesideStudies(servers.store, pace)
            async for folder in beside.folders(shift):
                found = await beside.verify(folder)
                report(found.findings)
                shift.journal.finish(finished_beside(folder.prefix, found))

    async def _studies(self, shift: Shift, servers: VerifyServers) -> AsyncIterator[StudyFolder]:
        """Yield the studies of the store, then those of the catalog of which the store had no object."""
        async for study in walk.studies(servers.store, shift.selection, shift.share):
            if study.prefix not in shift.finished:
                yield study
        # Of a study without objects nobody knows when the store took them.
        if shift.selection.has_span:
            return
        async for key in _cataloged(servers.catalog, shift.selection.tenant):
            study = StudyFolder(*key, tuple(TIERS.values()))
            is_selected = shift.selection.study_uid in (None, key.study_uid) and study.is_in(shift.share)
            if is_selected and study.prefix not in shift.finished:
                yield study

    async def _repaired(self, servers: VerifyServers, findings: Collection[Finding]) -> list[Finding]:
        """Publish again the events of whole objects that have no row, or that of another; return those that could be."""
        if servers.events is None:
            return []
        repairer = Repairer(servers.store, InstanceReader(servers.store, self.limits), servers.events)
        return [one for one in findings if one.kind in REPAIRED_BY_EVENT and await repairer.publish(one)]


def report(findings: Collection[Finding]) -> None:
    """Log what is wrong."""
    for finding in findings:
        log.error("object_verified_wrong", kind=finding.kind, key=finding.key, tier=finding.tier)


async def _cataloged(catalog: CatalogObjects, tenant: str | None) -> AsyncIterator[StudyKey]:
    """Yield every study of the catalog, in pages."""
    after: StudyKey | None = None
    while page := await asyncio.to_thread(catalog.studies, tenant, after, PAGE):
        for study in page:
            yield study
        after = page[-1]


@dataclass(frozen=True)
class Repairer:
    """The repair of what an object's event repairs."""

    store: ObjectStore
    instances: InstanceReader
    events: EventLog

    async def publish(self, finding: Finding) -> bool:
        """Publish the event of an object again; False if it is damaged or gone, which the log tells. Raises Unavailable."""
        place = Place(Bucket(finding.tier), finding.key)
        try:
            if place.is_of_command:
                await self._publish_command(place.key)
            else:
                event = await self.instances.event(place.key, (place.bucket,))
                await self.events.publish(INSTANCE_STORED, event)
        except Unreadable:
            # A store that ails as a whole answers so too; then the check raises.
            await self.store.check()
        except Rejected as error:
            log.warning("object_not_repaired", key=finding.key, reason=error.reason)
        else:
            return True
        return False

    async def _publish_command(self, key: str) -> None:
        command = await COMMANDS.find(self.store, key)
        if command is None:
            raise Rejected("object-went")
        await self.events.publish(STUDY_COMMAND, command)
