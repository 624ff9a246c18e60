"""The intake of one process, which all its doors share: opened before them, and settled after them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic

from gateway.intake.accept import Acceptance, AcceptancePorts
from gateway.intake.examiner import Examiner
from gateway.intake.failpoints import armed
from gateway.intake.outbox.adoption import adopt
from gateway.intake.outbox.outbox import Outbox, OutboxPorts, report_file
from gateway.intake.quarantine import Quarantine, QuarantineRules
from gateway.intake.rebuild import Rebuilder
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import NOBODY, Sender, Transfer
from operators.dicom.scan import limits_of
from operators.store.ports import EventLog, ObjectStore
from operators.tasks import Background, Work
from schemas.objects import Bucket
from schemas.settings.intake import IntakeSettings, QuarantineSettings

STOP_S = 5.0


@dataclass(frozen=True)
class Connectors:
    """The store and the event log of an intake, and the tiers of the store that may hold instances."""

    store: ObjectStore
    events: EventLog
    # Each tier but the hot one costs a request for every instance; an instance in a tier that is left out may be stored
    # a second time.
    tiers: tuple[Bucket, ...] = (Bucket.HOT,)


@dataclass(frozen=True)
class Intake:
    """The acceptance of instances, the outbox and the background work behind it, which all doors share."""

    acceptance: Acceptance
    outbox: Outbox
    background: Background
    rebuilder: Rebuilder
    ports: OutboxPorts

    @property
    def room(self) -> Room:
        """Return the room for data sets, which all doors share."""
        return self.acceptance.room

    def new_transfer(self, tenant: str, sender: Sender = NOBODY, only_study: str = "") -> Transfer:
        """Return a transfer that is recorded in the outbox once it begins; the door must complete or abort it."""
        titles = (sender.calling_ae, sender.called_ae)
        return Transfer(self.outbox, tenant, *titles, only_study, peer=sender.peer, address=sender.address)


@contextlib.asynccontextmanager
async def open_intake(
    settings: IntakeSettings, quarantine_settings: QuarantineSettings, connectors: Connectors, background: Background
) -> AsyncIterator[Intake]:
    """Open the intake, even if store and broker do not answer; after the block, give the outbox STOP_S to finish.

    During the block, background work empties the outbox, finishes the outboxes of dead processes, measures the
    quarantine, and inspects the large objects of repeats.
    """
    rebuilder = rebuilder_of(settings, connectors)
    ports = outbox_ports(settings, connectors, rebuilder)
    outbox = Outbox.create(settings.outbox_dir, ports)
    quarantine = Quarantine(connectors.store, connectors.events, _rules(quarantine_settings))
    acceptance = _acceptance(settings, rebuilder, outbox, ports, quarantine)
    works: dict[str, Work] = {
        "outbox": outbox.run,
        "outbox_adoption": partial(adopt, settings.outbox_dir, ports),
        "quarantine_watch": quarantine.watch,
        "inspections": acceptance.inspect_in_background,
    }
    try:
        async with background.running(works):
            yield Intake(acceptance, outbox, background, rebuilder, ports)
    finally:
        await settle_and_close(outbox)


@contextlib.asynccontextmanager
async def open_outbox(
    settings: IntakeSettings, connectors: Connectors
) -> AsyncIterator[tuple[Outbox, OutboxPorts, Rebuilder]]:
    """Open an outbox for a process without an intake; after the block, give it a while to finish.

    What it has not finished by then, or when the process is killed, a gateway with the same folder does.
    """
    rebuilder = rebuilder_of(settings, connectors)
    ports = outbox_ports(settings, connectors, rebuilder)
    outbox = Outbox.create(settings.outbox_dir, ports)
    try:
        yield outbox, ports, rebuilder
    finally:
        await settle_and_close(outbox)


async def settle_and_close(outbox: Outbox) -> None:
    """Work on an outbox for STOP_S at most, then close it; a file that cannot be removed is reported, and left behind."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(outbox.settle(), STOP_S)
    try:
        outbox.close()
    except OSError as error:
        report_file(outbox.name, error)


def rebuilder_of(settings: IntakeSettings, connectors: Connectors) -> Rebuilder:
    """Return what rebuilds events of stored objects; it copies them into the spool, whose folder is made."""
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    tiers = TieredStore(connectors.store, connectors.tiers)
    return Rebuilder(tiers, settings.spool_dir, Examiner(limits_of(settings)))


def outbox_ports(settings: IntakeSettings, connectors: Connectors, rebuilder: Rebuilder) -> OutboxPorts:
    """Return what an outbox works with; `reached` is armed with the failpoint of the settings."""
    return OutboxPorts(
        events=connectors.events,
        rebuild=rebuilder,
        late_put_s=settings.late_put_s,
        time=connectors.store,
        clock=monotonic,
        sleep=asyncio.sleep,
        reached=armed(settings.failpoint),
    )


def _acceptance(
    settings: IntakeSettings, rebuilder: Rebuilder, outbox: Outbox, ports: OutboxPorts, quarantine: Quarantine
) -> Acceptance:
    return Acceptance(
        AcceptancePorts(
            rebuilder.tiers,
            ports.events,
            outbox,
            quarantine,
            Room(settings.memory_process_bytes, most_spooled_bytes=settings.spool_process_bytes),
            SpoolLimits(settings.memory_instance_bytes, settings.instance_bytes, settings.spool_dir),
            ports.time,
            examiner=rebuilder.examiner,
            reached=ports.reached,
        )
    )


def _rules(settings: QuarantineSettings) -> QuarantineRules:
    return QuarantineRules(timedelta(days=settings.days), settings.tenant_bytes, settings.measure_s)
