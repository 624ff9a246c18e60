"""Gateway processes without a door, over one store and one broker in memory, which outlive them; time is virtual."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.intake.accept import Acceptance, AcceptancePorts, Incoming, Receipt
from gateway.intake.outbox.adoption import Adoption
from gateway.intake.outbox.journal import Journal, Replacement
from gateway.intake.outbox.outbox import Outbox, OutboxPorts, Rebuild
from gateway.intake.quarantine import Quarantine, QuarantineRules
from gateway.intake.rebuild import Rebuilder
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import Transfer
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.errors import Unavailable
from schemas.events import InstanceStored, TransferEnded
from schemas.objects import Bucket, Envelope
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass
class VirtualTime:
    """Time that passes only when someone sleeps."""

    now_s: float = 0.0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


@dataclass
class IntakeWorld:
    """The store, the broker and the folder of journals that gateway processes share."""

    folder: Path
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    events: MemoryEventLog = field(default_factory=MemoryEventLog)
    time: VirtualTime = field(default_factory=VirtualTime)
    in_use: tuple[Bucket, ...] = (Bucket.HOT,)
    # What outboxes rebuild events with; None: what gateways use.
    rebuild: Rebuild | None = None

    def __post_init__(self) -> None:
        # As after the first second of a process, whatever becomes of the store then.
        asyncio.run(self.store.learn_time())

    @property
    def tiers(self) -> TieredStore:
        return TieredStore(self.store, self.in_use)

    def outbox_ports(self) -> OutboxPorts:
        rebuild = self.rebuild or Rebuilder(self.tiers, self.folder)
        return OutboxPorts(self.events, rebuild, 60, self.store, clock=self.time.clock, sleep=self.time.sleep)

    def gateway(self) -> "GatewayProcess":
        """Return a new process."""
        return GatewayProcess(self, Outbox.create(self.folder, self.outbox_ports()))

    def heal(self) -> int:
        """Finish what dead processes left; return how many journals there were."""

        async def finished() -> int:
            adoption = Adoption(self.folder, self.outbox_ports())
            return len(await asyncio.gather(*map(adoption.finish, adoption.ownerless())))

        return asyncio.run(finished())

    def move(self, bucket: Bucket) -> None:
        """Move every object of the hot tier to another bucket."""
        for name, key in list(self.store.objects):
            if name is Bucket.HOT:
                self.store.objects[bucket, key] = self.store.objects.pop((name, key))

    def take_late(self, seconds: int) -> datetime:
        """Let the store have taken the only object this much later than it was dated; return when, to the second."""
        ((place, held),) = self.store.objects.items()
        dated = Envelope.from_metadata(held.metadata).stored_at
        taken_at = dated.replace(microsecond=0) + timedelta(seconds=seconds)
        self.store.objects[place] = replace(held, modified_at=taken_at)
        return taken_at

    @property
    def journals(self) -> list[Path]:
        return list(self.folder.glob("*.jsonl"))

    @property
    def stored(self) -> list[InstanceStored]:
        return [event for event in self.events.events(INSTANCE_STORED) if isinstance(event, InstanceStored)]

    @property
    def ended(self) -> list[tuple[str, str, int]]:
        """Return the study, outcome and instances of each transfer-ended; the study is empty where there is none."""
        found = [event for event in self.events.events(TRANSFER_ENDED) if isinstance(event, TransferEnded)]
        return sorted((event.study_uid or "", event.outcome, event.instances) for event in found)


@dataclass
class GatewayProcess:
    """The acceptance and the outbox of one process, and one transfer."""

    world: IntakeWorld
    outbox: Outbox

    def __post_init__(self) -> None:
        self.transfer = Transfer(self.outbox, "local", "SENDER", "FLUORO")
        world = self.world
        quarantine = Quarantine(world.store, world.events, QuarantineRules(timedelta(days=30), 2**30, 300.0))
        limits = SpoolLimits(2**20, 2**20, world.folder)
        self.acceptance = Acceptance(
            AcceptancePorts(world.tiers, world.events, self.outbox, quarantine, Room(2**20), limits, world.store)
        )

    def accept(self, number: int, study_uid: str = "1.2.3") -> Receipt:
        """Accept the instance of this number."""
        return asyncio.run(self.accept_now(number, study_uid))

    async def accept_now(self, number: int, study_uid: str = "1.2.3") -> Receipt:
        """Accept the instance of this number, in a loop that runs."""
        incoming = self.acceptance.receive(CT, f"1.2.3.{number}", EXPLICIT)
        incoming.body.write(memoryview(data_set(number, study_uid)))
        return await self.acceptance.accept(self.transfer, incoming)

    def accept_incoming(self, incoming: Incoming) -> Receipt:
        return asyncio.run(self.acceptance.accept(self.transfer, incoming))

    def die(self) -> None:
        """Release the journal's lock and nothing else, as the kernel does for a killed process."""
        self.outbox._ledger.journal.close()


class FullJournal(Journal):
    """A journal on a disk without room."""

    def append(self, line: dict[str, object]) -> int:  # noqa: ARG002
        raise OSError(28, "no space")

    def replacement(self) -> Replacement:
        raise OSError(28, "no space")


def killed_during(world: IntakeWorld, server: MemoryObjectStore | MemoryEventLog, outage: Outage) -> GatewayProcess:
    """Kill a process while it accepts instance 1 during an outage of store or broker; then end the outage."""
    gateway = world.gateway()
    server.outage = outage
    with pytest.raises(Unavailable):
        gateway.accept(1)
    gateway.die()
    server.outage = Outage.NONE
    return gateway


def data_set(number: int, study_uid: str) -> bytes:
    """Return the data set of a small CT instance, in explicit VR."""
    content = Dataset()
    content.SOPClassUID = CT
    content.SOPInstanceUID = f"1.2.3.{number}"
    content.StudyInstanceUID = study_uid
    content.SeriesInstanceUID = "1.2.3.9"
    content.Modality = "CT"
    content.Rows = content.Columns = 2
    content.BitsAllocated = 8
    content.SamplesPerPixel = 1
    content.PixelData = b"\1\2\3\4"
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, content)
    return bytes(file.getvalue())


def envelope_of(transfer_id: str, **changes: Any) -> Envelope:
    """Return an envelope of any instance that a transfer carried, with these fields changed."""
    envelope = Envelope(
        stored_at=NOON,
        received_at=NOON,
        origin="received",
        transfer_id=transfer_id,
        calling_ae="CT",
        called_ae="FLUORO",
        transfer_syntax=EXPLICIT,
        prefix_length=2,
        prefix_hash="0" * 64,
        header_length=3,
    )
    return replace(envelope, **changes)
