"""The one use case behind every door: store an instance, publish its event, and only then answer its sender.

This order makes the answer true: object first, event second, answer third. The outbox finishes what a failure leaves
undone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from gateway.intake.deadlines import ANNOUNCE_S, CLOCK_S, within
from gateway.intake.examiner import Examiner
from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.known_contents import KnownContents
from gateway.intake.outbox.ledger import Intent
from gateway.intake.outbox.outbox import Outbox
from gateway.intake.quarantine import Quarantine
from gateway.intake.repeats.inspection import Inspector
from gateway.intake.repeats.replacement import RepeatedInstance
from gateway.intake.repeats.resolver import RepeatResolver, WholeObject
from gateway.intake.spool import Body, Buffer, Room, SpoolLimits
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import Transfer
from operators.dicom import instance, part10
from operators.dicom.instance import Examination
from operators.errors import Rejected, Unavailable
from operators.store import checksum, quarantine
from operators.store.ports import EventLog, StoreTime, Upload
from schemas.events import InstanceStored
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_BYTES, GATEWAY_REJECTED
from schemas.topics import INSTANCE_STORED


@dataclass(frozen=True)
class Incoming:
    """An instance that is being received: its bytes, and what its sender says about it.

    A value that the sender does not state is None, and is taken from the data set.
    """

    sop_class: str | None
    sop_uid: str | None
    transfer_syntax: str
    # The bytes stored before the data set; empty when no prefix can be made from the sender's UIDs.
    prefix: bytes
    body: Body
    # The reason of its rejection, if that is known before its data set is received; else empty.
    flaw: str = ""


@dataclass(frozen=True)
class Receipt:
    """Proof that an instance is stored and its event acknowledged; a repeat is an instance that was stored before.

    `is_shown` is False if another content of the instance is known to be shown in its place.
    """

    event: InstanceStored
    is_repeat: bool
    is_shown: bool = True


@dataclass(frozen=True)
class AcceptancePorts:
    """The servers, the outbox, the quarantine and the limits that an acceptance works with."""

    tiers: TieredStore
    events: EventLog
    outbox: Outbox
    quarantine: Quarantine
    room: Room
    spool_limits: SpoolLimits
    time: StoreTime
    clock: Callable[[], float] = monotonic
    examiner: Examiner = field(default_factory=Examiner)
    reached: Reached = pass_by


@dataclass(frozen=True)
class _ExaminedInstance:
    """An incoming instance whose data set was examined."""

    incoming: Incoming
    data: Buffer
    examination: Examination
    identity: Identity


class Acceptance:
    """The acceptance of instances by one process, for the tenants of their transfers.

    `contents` has the contents that the process knows of, which decide whether a sender is warned.
    """

    def __init__(self, ports: AcceptancePorts) -> None:
        self._ports = ports
        inspector = Inspector(ports.tiers, ports.quarantine.keep_aside, ports.room, ports.spool_limits)
        self._repeats = RepeatResolver(inspector, ports.clock)
        self.contents = KnownContents()

    @property
    def room(self) -> Room:
        """Return the memory and the spool that all incoming instances of the process share."""
        return self._ports.room

    async def inspect_in_background(self) -> None:
        """Inspect the objects of repeats that are too large to inspect while a sender waits, until cancelled."""
        await self._repeats.run()

    def receive(self, sop_class: str, sop_uid: str, transfer_syntax: str) -> Incoming:
        """Begin to receive a data set whose sender names its instance; the caller writes and closes its body."""
        prefix = _prefix(sop_class, sop_uid, transfer_syntax)
        return Incoming(sop_class, sop_uid, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_part10(self, sop_class: str, transfer_syntax: str, prefix: bytes) -> Incoming:
        """Begin to receive the data set of a Part 10 file, after the file's own prefix.

        An empty `sop_class` is not compared with the data set. The instance UID of the file meta is not compared with the data set: after a change of the data set it is
        often left as it was.
        """
        return Incoming(sop_class or None, None, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_flawed(self, reason: str) -> Incoming:
        """Begin to receive bytes that are no Part 10 file; all of them are the body, and will be quarantined."""
        return Incoming(None, None, "", b"", self._body(b"", ""), reason)

    def _body(self, prefix: bytes, transfer_syntax: str) -> Body:
        return Body(prefix, instance.data_hasher(transfer_syntax), self._ports.room, self._ports.spool_limits)

    async def accept(self, transfer: Transfer, incoming: Incoming) -> Receipt:
        """Store the instance and publish its event.

        Raises Rejected for an instance that can never be stored; it is quarantined, unless it is too large, the
        quarantine is full or it belongs to another study. Raises Unavailable for an instance that may be stored when
        it is sent again: its object may exist already, the outbox then publishes its event, and the transfer is partial.
        """
        try:
            return await self._accept(transfer, incoming)
        except Unavailable:
            transfer.mark_partial()
            raise

    async def _accept(self, transfer: Transfer, incoming: Incoming) -> Receipt:
        if incoming.body.failed is not None:
            raise incoming.body.failed
        self._ports.reached("after_spool")
        # Not for every instance: a limit is set and cleared.
        if not self._ports.time.is_time_known:
            async with within(CLOCK_S):
                await self._ports.time.learn_time()
        received_at = self._ports.time.now()
        GATEWAY_BYTES.inc(incoming.body.size_bytes)
        with incoming.body.opened() as data:
            try:
                examination = await self._examined(incoming, data)
            except Rejected as error:
                GATEWAY_REJECTED.labels(error.reason).inc()
                await self._quarantine(transfer, incoming, data, received_at, error.reason)
                raise
            if transfer.only_study not in ("", examination.study_uid):
                # Not quarantined: the instance is good, and its sender still has it.
                raise Rejected("other-study")
            examined = _ExaminedInstance(incoming, data, examination, _identity(transfer, incoming, examination))
            return await self._store(transfer, examined, received_at)

    async def _examined(self, incoming: Incoming, data: Buffer) -> Examination:
        """Read the data set and compare it with what the sender says; raises Rejected."""
        if incoming.flaw:
            raise Rejected(incoming.flaw)
        examination = await self._ports.examiner.examine(data, incoming.transfer_syntax, len(incoming.prefix))
        _compare(incoming, examination)
        return examination

    async def _store(self, transfer: Transfer, examined: _ExaminedInstance, received_at: datetime) -> Receipt:
        envelope = self._envelope(transfer, examined.incoming, examined.examination.header_length, received_at)
        upload = _upload(examined.identity.key, examined.incoming, examined.data, envelope)
        intent = self._intend(transfer, examined.identity, upload)
        self._ports.reached("after_intent")
        try:
            receipt = await self._put_and_publish(transfer, examined, upload)
        except BaseException:
            self._ports.outbox.failed(intent)
            raise
        self._ports.reached("after_event")
        self._ports.outbox.done(intent, receipt.event.size_bytes)
        self._ports.reached("after_done")
        transfer.count()
        return receipt

    def _intend(self, transfer: Transfer, identity: Identity, upload: Upload) -> Intent:
        try:
            transfer.begin()
            return self._ports.outbox.intend(transfer.transfer_id, identity, upload.key, upload.envelope)
        except OSError as error:
            raise Unavailable("outbox") from error

    async def _put_and_publish(self, transfer: Transfer, examined: _ExaminedInstance, upload: Upload) -> Receipt:
        moved = await self._ports.tiers.find_moved(upload.key)
        is_new = moved is None and await self._ports.tiers.put(upload)
        self._ports.reached("after_put")
        async with within(ANNOUNCE_S) as limit:
            if is_new:
                event = _event_of_new(examined, upload)
            else:
                repeat = RepeatedInstance(upload, examined.incoming.prefix, examined.data, examined.examination)
                event = _event_of_repeat(transfer, examined, await self._repeats.whole_object(repeat, moved, limit))
            await self._ports.events.publish(INSTANCE_STORED, event)
        return Receipt(event, is_repeat=not is_new, is_shown=self.contents.is_shown(event))

    async def _quarantine(
        self, transfer: Transfer, incoming: Incoming, data: Buffer, received_at: datetime, reason: str
    ) -> None:
        """Store an unreadable instance in the quarantine, under its hash.

        Raises Unavailable when store or broker do not answer, Rejected("quarantine-full").
        """
        envelope = self._envelope(transfer, incoming, 0, received_at)
        key = quarantine.key(transfer.tenant, incoming.body.data_hash)
        await self._ports.quarantine.keep(_upload(key, incoming, data, envelope), reason)

    def _envelope(self, transfer: Transfer, incoming: Incoming, header_length: int, received_at: datetime) -> Envelope:
        return Envelope(
            stored_at=self._ports.time.now(),
            received_at=received_at,
            origin=transfer.origin,
            transfer_id=transfer.transfer_id,
            calling_ae=transfer.calling_ae,
            called_ae=transfer.called_ae,
            transfer_syntax=incoming.transfer_syntax,
            prefix_length=len(incoming.prefix),
            prefix_hash=instance.prefix_hash(incoming.prefix),
            header_length=header_length,
        )


def _prefix(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    try:
        return part10.part10_prefix(sop_class, sop_uid, transfer_syntax)
    except Rejected:
        # The instance is rejected again once all its bytes are received; they are quarantined without a prefix.
        return b""


def _compare(incoming: Incoming, examination: Examination) -> None:
    """Raise Rejected if the data set is not the instance that its sender names."""
    if incoming.sop_class not in (None, examination.sop_class):
        raise Rejected("sop-class-mismatch")
    if incoming.sop_uid not in (None, examination.sop_uid):
        raise Rejected("sop-uid-mismatch")


def _identity(transfer: Transfer, incoming: Incoming, examination: Examination) -> Identity:
    return Identity(
        transfer.tenant, examination.study_uid, examination.series_uid, examination.sop_uid, incoming.body.data_hash
    )


def _upload(key: str, incoming: Incoming, data: Buffer, envelope: Envelope) -> Upload:
    crc32c = checksum.written(incoming.body.crc32c)
    size_bytes = len(incoming.prefix) + incoming.body.size_bytes
    return Upload(key, (incoming.prefix, memoryview(data)), size_bytes, crc32c, envelope)


def _event_of_new(examined: _ExaminedInstance, upload: Upload) -> InstanceStored:
    return instance.instance_stored(examined.identity, examined.examination, upload.envelope, upload.size_bytes)


def _event_of_repeat(transfer: Transfer, examined: _ExaminedInstance, whole: WholeObject) -> InstanceStored:
    """Return the event of the object that is stored: the same data set, perhaps after another prefix."""
    difference = whole.envelope.prefix_length - len(examined.incoming.prefix)
    event = instance.instance_stored(
        examined.identity,
        instance.move_examination(examined.examination, difference),
        whole.envelope,
        whole.size_bytes,
        transfer_id=transfer.transfer_id,
    )
    return instance.dated_by_store(event, whole.modified_at)
