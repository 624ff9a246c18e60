"""The one use case behind every door: bytes in; a receipt, Rejected or Unavailable out.

Object first, event second, answer third. What a failure leaves behind is the outbox's to finish.
"""

import asyncio
import base64
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.ledger import Intent
from gateway.intake.outbox import Outbox
from gateway.intake.quarantine import Quarantine
from gateway.intake.spool import Body, Buffer, Room, SpoolLimits
from gateway.intake.transfer import Transfer
from operators.dicom import instance, part10
from operators.dicom.instance import Examination
from operators.dicom.scan import LIMITS, ScanLimits
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.errors import Rejected, Unavailable
from operators.store import quarantine
from operators.store.ports import EventLog, ObjectStore, StoredObject, Upload
from schemas.events import InstanceStored
from schemas.objects import Bucket, Envelope, Identity
from schemas.telemetry import GATEWAY_BYTES, GATEWAY_REJECTED
from schemas.topics import INSTANCE_STORED

# A sender is answered within 15 s of a fault: a PUT may have stood still for 5 of them.
ANNOUNCE_S = 9.0


@dataclass(frozen=True)
class Incoming:
    """One instance that comes in: what the sender says it is, and its bytes. The prefix is empty without usable UIDs.

    What the sender does not say is None: then the data set alone does.
    """

    sop_class: str | None
    sop_uid: str | None
    transfer_syntax: str
    prefix: bytes
    body: Body
    # Why it can never be shown, where that was known before its data set came; empty: it was not.
    flaw: str = ""


@dataclass(frozen=True)
class Receipt:
    """The instance is stored and its event acknowledged; a repeat was there before."""

    event: InstanceStored
    is_repeat: bool


@dataclass(frozen=True)
class AcceptancePorts:
    """What the use case works with."""

    store: ObjectStore
    events: EventLog
    outbox: Outbox
    quarantine: Quarantine
    room: Room
    bounds: SpoolLimits
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    limits: ScanLimits = LIMITS
    reached: Reached = pass_by


class Acceptance:
    """Accepts instances for the tenants of their transfers."""

    def __init__(self, inside: AcceptancePorts) -> None:
        self._inside = inside
        # To inflate may take a second: beside the loop, and one at a time whoever sends how many.
        self._inflating = ThreadPoolExecutor(1, "inflate")

    @property
    def room(self) -> Room:
        """Return the memory and the spool that all arrivals share."""
        return self._inside.room

    def receive(self, sop_class: str, sop_uid: str, transfer_syntax: str, prefix: bytes | None = None) -> Incoming:
        """Make a place for an instance that is about to come; the caller closes its body.

        The prefix is what came before the data set; without one it is made of the rest.
        """
        if prefix is None:
            prefix = _prefix(sop_class, sop_uid, transfer_syntax)
        return Incoming(sop_class, sop_uid, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_part10(self, sop_class: str, transfer_syntax: str, prefix: bytes) -> Incoming:
        """Make a place for the data set of a Part 10 file behind its prefix; its file meta may leave the class out.

        The SOP Instance UID is the data set's: file metas that name another, left by who changed it, are common.
        """
        return Incoming(sop_class or None, None, transfer_syntax, prefix, self._body(prefix, transfer_syntax))

    def receive_flawed(self, reason: str) -> Incoming:
        """Make a place for bytes that are no Part 10 file: all of them are its body."""
        return Incoming(None, None, "", b"", self._body(b"", ""), reason)

    def _body(self, prefix: bytes, transfer_syntax: str) -> Body:
        return Body(prefix, instance.data_hasher(transfer_syntax), self._inside.room, self._inside.bounds)

    async def accept(self, transfer: Transfer, arrival: Incoming) -> Receipt:
        """Store the instance and publish its event.

        Raises Rejected for what can never succeed (kept in quarantine, unless it broke a limit), Unavailable for
        what may succeed when it is sent again; then the object may be there, the outbox sees to its event, and the
        transfer is partial.
        """
        try:
            return await self._accept(transfer, arrival)
        except Unavailable:
            transfer.mark_partial()
            raise

    async def _accept(self, transfer: Transfer, arrival: Incoming) -> Receipt:
        if arrival.body.failed is not None:
            raise arrival.body.failed
        self._inside.reached("after_spool")
        received_at = self._inside.now()
        GATEWAY_BYTES.inc(arrival.body.size_bytes)
        with arrival.body.opened() as data:
            try:
                examined = await self._examined(arrival, data)
            except Rejected as error:
                GATEWAY_REJECTED.labels(error.reason).inc()
                await self._quarantine(transfer, arrival, data, received_at, error.reason)
                raise
            if transfer.only_study not in ("", examined.study_uid):
                # Perfectly good for somewhere else: kept by whoever sent it.
                raise Rejected("other-study")
            return await self._keep(transfer, arrival, examined, data, received_at)

    async def _examined(self, arrival: Incoming, data: Buffer) -> Examination:
        if arrival.transfer_syntax not in DEFLATED:
            return _examine(arrival, data, self._inside.limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inflating, _examine, arrival, data, self._inside.limits)

    async def _keep(
        self, transfer: Transfer, arrival: Incoming, examined: Examination, data: Buffer, received_at: datetime
    ) -> Receipt:
        identity = Identity(
            transfer.tenant, examined.study_uid, examined.series_uid, examined.sop_uid, arrival.body.data_hash
        )
        envelope = self._envelope(transfer, arrival, examined.header_length, received_at)
        upload = _upload(identity.key, arrival, data, envelope)
        number = self._intend(transfer, identity, upload)
        self._inside.reached("after_intent")
        try:
            is_new = await self._inside.store.put(Bucket.HOT, upload)
            self._inside.reached("after_put")
            async with _announcing():
                if is_new:
                    header = instance.inline_header(arrival.prefix, data, examined)
                    event = instance.instance_stored(identity, examined, envelope, header, upload.size_bytes)
                else:
                    event = await self._event_of_repeat(transfer, identity, examined, data)
                await self._inside.events.publish(INSTANCE_STORED, event)
        except BaseException:
            self._inside.outbox.failed(number)
            raise
        self._inside.reached("after_event")
        self._inside.outbox.done(number)
        self._inside.reached("after_done")
        transfer.count()
        return Receipt(event, is_repeat=not is_new)

    def _intend(self, transfer: Transfer, identity: Identity, upload: Upload) -> int:
        try:
            transfer.begin()
            return self._inside.outbox.intend(transfer.transfer_id, identity, upload.key, upload.envelope)
        except OSError as error:
            raise Unavailable("outbox") from error

    async def _event_of_repeat(
        self, transfer: Transfer, identity: Identity, examined: Examination, data: Buffer
    ) -> InstanceStored:
        """Return the event of the object that is there: the same data set, perhaps behind another prefix."""
        stored = await self._inside.store.head(Bucket.HOT, identity.key)
        if stored is None:
            raise Unavailable("store-object-went")
        theirs = stored.envelope.prefix_length
        prefix = await _read(self._inside.store, identity.key, theirs)
        moved = instance.move_examination(examined, stored.envelope.header_length - examined.header_length)
        return instance.instance_stored(
            identity,
            moved,
            stored.envelope,
            instance.inline_header(prefix, data, moved),
            stored.size_bytes,
            transfer_id=transfer.transfer_id,
        )

    async def _quarantine(
        self, transfer: Transfer, arrival: Incoming, data: Buffer, received_at: datetime, reason: str
    ) -> None:
        """Keep what cannot be read, under its hash; raises Unavailable when that fails."""
        envelope = self._envelope(transfer, arrival, 0, received_at)
        key = quarantine.key(transfer.tenant, arrival.body.data_hash)
        await self._inside.quarantine.keep(_upload(key, arrival, data, envelope), reason)

    def _envelope(self, transfer: Transfer, arrival: Incoming, header_length: int, received_at: datetime) -> Envelope:
        return Envelope(
            stored_at=self._inside.now(),
            received_at=received_at,
            origin=transfer.origin,
            transfer_id=transfer.transfer_id,
            calling_ae=transfer.calling_ae,
            called_ae=transfer.called_ae,
            transfer_syntax=arrival.transfer_syntax,
            prefix_length=len(arrival.prefix),
            prefix_hash=instance.prefix_hash(arrival.prefix),
            header_length=header_length,
        )


@asynccontextmanager
async def _announcing() -> AsyncIterator[None]:
    """Bound what follows a PUT as a whole, which may ask the store twice and the broker once; raises Unavailable."""
    try:
        async with asyncio.timeout(ANNOUNCE_S):
            yield
    except TimeoutError as error:
        raise Unavailable("slow") from error


def _prefix(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    try:
        return part10.part10_prefix(sop_class, sop_uid, transfer_syntax)
    except Rejected:
        # Said again when all has come: the bytes are quarantined, as they came.
        return b""


def _examine(arrival: Incoming, data: Buffer, limits: ScanLimits) -> Examination:
    """Read the data set and hold it against what the sender said."""
    if arrival.flaw:
        raise Rejected(arrival.flaw)
    examined = instance.examine(data, arrival.transfer_syntax, len(arrival.prefix), limits)
    if arrival.sop_class not in (None, examined.sop_class):
        raise Rejected("sop-class-mismatch")
    if arrival.sop_uid not in (None, examined.sop_uid):
        raise Rejected("sop-uid-mismatch")
    return examined


def _upload(key: str, arrival: Incoming, data: Buffer, envelope: Envelope) -> Upload:
    crc32c = base64.b64encode(arrival.body.crc32c.to_bytes(4, "big")).decode()
    size_bytes = len(arrival.prefix) + arrival.body.size_bytes
    return Upload(key, (arrival.prefix, memoryview(data)), size_bytes, crc32c, envelope)


async def _read(store: ObjectStore, key: str, end: int) -> bytes:
    try:
        return b"".join([chunk async for chunk in store.read(Bucket.HOT, key, 0, end)])
    except KeyError as error:
        raise Unavailable("store-object-went") from error


@dataclass(frozen=True)
class Rebuilding:
    """Gives the event of an intent's object from what lies in the store: its bytes and its envelope."""

    store: ObjectStore
    folder: Path
    limits: ScanLimits = LIMITS

    async def __call__(self, intent: Intent) -> InstanceStored | None:
        """Return the event, naming the intent's transfer; None when no object is there."""
        stored = await self.store.head(Bucket.HOT, intent.key)
        if stored is None:
            return None
        try:
            return await self._event(intent, stored)
        except OSError as error:
            raise Unavailable("spool") from error
        except KeyError as error:
            raise Unavailable("store-object-went") from error

    async def _event(self, intent: Intent, stored: StoredObject) -> InstanceStored:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            async for chunk in self.store.read(Bucket.HOT, intent.key):
                file.write(chunk)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return instance.event_of_object(
                    intent.key, stored.envelope, whole, transfer_id=intent.transfer_id, limits=self.limits
                )
