"""What every door leads to: the use case, its outbox at work, and the memory that data sets on their way share."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import structlog

from gateway.intake.accept import Acceptance, AcceptancePorts
from gateway.intake.failpoints import armed
from gateway.intake.outbox import Outbox, OutboxPorts, adopt
from gateway.intake.quarantine import Quarantine, Rules
from gateway.intake.rebuild import Rebuilder
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import Transfer
from operators.dicom.scan import ScanLimits
from operators.store.ports import EventLog, ObjectStore
from schemas.objects import Bucket
from schemas.settings.intake import IntakeSettings, QuarantineSettings

STOP_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """The store and the event log, and the tiers of the store that may hold instances."""

    store: ObjectStore
    events: EventLog
    # Without a tier that is in use a repeat of an instance in it is stored twice; with it an instance costs a request more.
    tiers: tuple[Bucket, ...] = (Bucket.HOT,)


@dataclass(frozen=True)
class Intake:
    """What the doors of one process share."""

    acceptance: Acceptance
    outbox: Outbox
    room: Room

    def new_transfer(self, tenant: str, calling_ae: str = "", called_ae: str = "", only_study: str = "") -> Transfer:
        """Return a transfer that is recorded in the outbox once it begins; the door must complete or abort it."""
        return Transfer(self.outbox, tenant, calling_ae, called_ae, only_study)


@contextlib.asynccontextmanager
async def open_intake(
    settings: IntakeSettings, quarantine_settings: QuarantineSettings, connectors: Connectors
) -> AsyncIterator[Intake]:
    """Work off the outbox, and what dead processes left of theirs, while this is entered; settle it on leaving.

    Starts whether or not store and broker answer.
    """
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    reached = armed(settings.failpoint)
    tiers = TieredStore(connectors.store, connectors.tiers)
    outside = OutboxPorts(
        events=connectors.events,
        rebuild=Rebuilder(tiers, settings.spool_dir, limits_of(settings)),
        heal_s=settings.late_put_s,
        clock=monotonic,
        sleep=asyncio.sleep,
        reached=reached,
    )
    outbox = Outbox.create(settings.outbox_dir, outside)
    quarantine = Quarantine(connectors.store, connectors.events, _rules(quarantine_settings))
    works = (outbox.run(), adopt(settings.outbox_dir, outside), quarantine.watch())
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_fail_loudly)
    room = Room(settings.memory_process_bytes, most_spooled_bytes=settings.spool_process_bytes)
    bounds = SpoolLimits(settings.memory_instance_bytes, settings.instance_bytes, settings.spool_dir)
    inside = AcceptancePorts(
        tiers,
        connectors.events,
        outbox,
        quarantine,
        room,
        bounds,
        scan_limits=limits_of(settings),
        reached=reached,
    )
    acceptance = Acceptance(inside)
    try:
        yield Intake(acceptance, outbox, room)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(outbox.settle(), STOP_S)
        outbox.close()


def limits_of(settings: IntakeSettings) -> ScanLimits:
    """Return how much structure a data set may have."""
    return ScanLimits(
        depth=settings.depth,
        items=settings.items,
        elements=settings.elements,
        inflate_ratio=settings.inflate_ratio,
        inflated_bytes=settings.inflated_bytes,
    )


def _rules(settings: QuarantineSettings) -> Rules:
    return Rules(timedelta(days=settings.days), settings.tenant_bytes, settings.measure_s)


def _fail_loudly(task: "asyncio.Task[object]") -> None:
    """Nothing may end the outbox's work but its own cancelling: without it this process should not go on."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("outbox_failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
