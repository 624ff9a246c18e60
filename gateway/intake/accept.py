"""The one use case behind every door: store an instance, publish its event, and only then answer its sender.

The order makes the answer true: object first, event second, answer third. Whatever a failure leaves undone, the
outbox finishes.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.outbox import Outbox
from gateway.intake.quarantine import Quarantine
from gateway.intake.spool import Body, Buffer, Room, SpoolLimits
from gateway.intake.tiers import TieredObject, TieredStore
from gateway.intake.transfer import Transfer
from operators.dicom import instance, part10
from operators.dicom.instance import Examination
from operators.dicom.scan import LIMITS, ScanLimits
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.errors import Rejected, Unavailable
from operators.store import quarantine
from operators.store.ports import EventLog, Upload
from schemas.events import InstanceStored
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_BYTES, GATEWAY_REJECTED
from schemas.topics import INSTANCE_STORED

# A sender is answered within 15 s of a fault: a PUT may have stood still for 5 of them, a look-up for another one.
ANNOUNCE_S = 9.0


@dataclass(frozen=True)
class Incoming:
    """One instance on its way in: what its sender says about it, and its bytes.

    What the sender does not say is None: then only the data set says it.
    """

    sop_class: str | None
    sop_uid: str | None
    transfer_syntax: str
    # Stored in front of the data set; empty when the sender's UIDs make none.
    prefix: bytes
    body: Body
    # Why it is rejected, if that was known before its data set was received; else empty.
    flaw: str = ""


@dataclass(frozen=True)
class Receipt:
    """Proof that the instance is stored and its event acknowledged; a repeat was stored before."""

    event: InstanceStored
    is_repeat: bool


@dataclass(frozen=True)
class AcceptancePorts:
    """The store, the event log and the outbox that the acceptance works through, and its limits."""

    tiers: TieredStore
    events: EventLog
    outbox: Outbox
    quarantine: Quarantine
    room: Room
    spool_limits: SpoolLimits
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    scan_limits: ScanLimits = LIMITS
    reached: Reached = pass_by


@dataclass(frozen=True)
class _Instance:
    """An incoming instance whose data set was read."""

    incoming: Incoming
    data: Buffer
    examination: Examination
    identity: Identity


class Acceptance:
    """The acceptance of instances by one process, for the tenants of their transfers."""

    def __init__(self, ports: AcceptancePorts) -> None:
        self._ports = ports
        # To inflate may take a second: in a thread, and one data set at a time, however many senders there are.
        self._inflating = ThreadPoolExecutor(1, "inflate")

    @property
    def room(self) -> Room:
        """Return the memory and the spool that all incoming instances of the process share."""
        return self._ports.room

    def receive(self, sop_class: str, sop_uid: str, transfer_syntax: str) -> Incoming:
        """Begin to receive a data set whose sender names its instance; the caller writes and closes its body."""
        prefix = _prefix(sop_class, sop_uid, transfer_syntax)
        return Incoming(sop_class, sop_uid, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_part10(self, sop_class: str, transfer_syntax: str, prefix: bytes) -> Incoming:
        """Begin to receive the data set of a Part 10 file, behind the file's own prefix; an empty class is not said.

        Only the data set names the instance: file metas that name another one, left over from a change, are common.
        """
        return Incoming(sop_class or None, None, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_flawed(self, reason: str) -> Incoming:
        """Begin to receive bytes that are no Part 10 file: all of them are the body, to be quarantined."""
        return Incoming(None, None, "", b"", self._body(b"", ""), reason)

    def _body(self, prefix: bytes, transfer_syntax: str) -> Body:
        return Body(prefix, instance.data_hasher(transfer_syntax), self._ports.room, self._ports.spool_limits)

    async def accept(self, transfer: Transfer, incoming: Incoming) -> Receipt:
        """Store the instance and publish its event.

        Raises Rejected for an instance that can never be stored (it is quarantined, unless it broke a limit or is of
        another study), Unavailable for one that may be stored when it is sent again: then its object may be there,
        the outbox sees to its event, and the transfer is partial.
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
        received_at = self._ports.now()
        GATEWAY_BYTES.inc(incoming.body.size_bytes)
        with incoming.body.opened() as data:
            try:
                examination = await self._examined(incoming, data)
            except Rejected as error:
                GATEWAY_REJECTED.labels(error.reason).inc()
                await self._quarantine(transfer, incoming, data, received_at, error.reason)
                raise
            if transfer.only_study not in ("", examination.study_uid):
                # There is nothing wrong with the instance, and its sender keeps it: no case for the quarantine.
                raise Rejected("other-study")
            one = _Instance(incoming, data, examination, _identity(transfer, incoming, examination))
            return await self._store(transfer, one, received_at)

    async def _examined(self, incoming: Incoming, data: Buffer) -> Examination:
        if incoming.transfer_syntax not in DEFLATED:
            return _examine(incoming, data, self._ports.scan_limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inflating, _examine, incoming, data, self._ports.scan_limits)

    async def _store(self, transfer: Transfer, one: _Instance, received_at: datetime) -> Receipt:
        envelope = self._envelope(transfer, one.incoming, one.examination.header_length, received_at)
        upload = _upload(one.identity.key, one.incoming, one.data, envelope)
        number = self._intend(transfer, one.identity, upload)
        self._ports.reached("after_intent")
        try:
            receipt = await self._put_and_publish(transfer, one, upload)
        except BaseException:
            self._ports.outbox.failed(number)
            raise
        self._ports.reached("after_event")
        self._ports.outbox.done(number)
        self._ports.reached("after_done")
        transfer.count()
        return receipt

    def _intend(self, transfer: Transfer, identity: Identity, upload: Upload) -> int:
        try:
            transfer.begin()
            return self._ports.outbox.intend(transfer.transfer_id, identity, upload.key, upload.envelope)
        except OSError as error:
            raise Unavailable("outbox") from error

    async def _put_and_publish(self, transfer: Transfer, one: _Instance, upload: Upload) -> Receipt:
        moved = await self._ports.tiers.find_moved(upload.key)
        is_new = moved is None and await self._ports.tiers.put(upload)
        self._ports.reached("after_put")
        async with _announcing():
            event = _event_of_new(one, upload) if is_new else await self._event_of_repeat(transfer, one, moved)
            await self._ports.events.publish(INSTANCE_STORED, event)
        return Receipt(event, is_repeat=not is_new)

    async def _event_of_repeat(self, transfer: Transfer, one: _Instance, moved: TieredObject | None) -> InstanceStored:
        """Return the event of the object that is there: the same data set, perhaps behind another prefix."""
        found = moved or await self._ports.tiers.find(one.identity.key)
        if found is None:
            raise Unavailable("store-object-went")
        envelope = found.stored.envelope
        examination = instance.move_examination(one.examination, envelope.header_length - one.examination.header_length)
        return instance.instance_stored(
            one.identity,
            examination,
            envelope,
            instance.inline_header(await self._prefix_of(found), one.data, examination),
            found.stored.size_bytes,
            transfer_id=transfer.transfer_id,
        )

    async def _prefix_of(self, found: TieredObject) -> bytes:
        length = found.stored.envelope.prefix_length
        try:
            return b"".join([chunk async for chunk in self._ports.tiers.read(found, length)])
        except KeyError as error:
            raise Unavailable("store-object-went") from error

    async def _quarantine(
        self, transfer: Transfer, incoming: Incoming, data: Buffer, received_at: datetime, reason: str
    ) -> None:
        """Store an instance that cannot be read under its hash in the quarantine; raises Unavailable if that fails."""
        envelope = self._envelope(transfer, incoming, 0, received_at)
        key = quarantine.key(transfer.tenant, incoming.body.data_hash)
        await self._ports.quarantine.keep(_upload(key, incoming, data, envelope), reason)

    def _envelope(self, transfer: Transfer, incoming: Incoming, header_length: int, received_at: datetime) -> Envelope:
        return Envelope(
            stored_at=self._ports.now(),
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


@asynccontextmanager
async def _announcing() -> AsyncIterator[None]:
    """Bound all that follows a PUT, two requests to the store and one to the broker; raises Unavailable."""
    try:
        async with asyncio.timeout(ANNOUNCE_S):
            yield
    except TimeoutError as error:
        raise Unavailable("slow") from error


def _prefix(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    try:
        return part10.part10_prefix(sop_class, sop_uid, transfer_syntax)
    except Rejected:
        # Rejected again once all bytes are here: they go to the quarantine as they were sent, without a prefix.
        return b""


def _examine(incoming: Incoming, data: Buffer, limits: ScanLimits) -> Examination:
    """Read the data set, and compare it with what the sender says."""
    if incoming.flaw:
        raise Rejected(incoming.flaw)
    examination = instance.examine(data, incoming.transfer_syntax, len(incoming.prefix), limits)
    if incoming.sop_class not in (None, examination.sop_class):
        raise Rejected("sop-class-mismatch")
    if incoming.sop_uid not in (None, examination.sop_uid):
        raise Rejected("sop-uid-mismatch")
    return examination


def _identity(transfer: Transfer, incoming: Incoming, examination: Examination) -> Identity:
    return Identity(
        transfer.tenant, examination.study_uid, examination.series_uid, examination.sop_uid, incoming.body.data_hash
    )


def _upload(key: str, incoming: Incoming, data: Buffer, envelope: Envelope) -> Upload:
    crc32c = base64.b64encode(incoming.body.crc32c.to_bytes(4, "big")).decode()
    size_bytes = len(incoming.prefix) + incoming.body.size_bytes
    return Upload(key, (incoming.prefix, memoryview(data)), size_bytes, crc32c, envelope)


def _event_of_new(one: _Instance, upload: Upload) -> InstanceStored:
    header = instance.inline_header(one.incoming.prefix, one.data, one.examination)
    return instance.instance_stored(one.identity, one.examination, upload.envelope, header, upload.size_bytes)
