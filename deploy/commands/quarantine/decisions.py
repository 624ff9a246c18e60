"""Carry out what an operator decides about an object in quarantine: release it into the archive, or discard it."""

import asyncio
import mmap
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.commands.files import copy_object
from deploy.commands.problems import server_name
from deploy.commands.stow import StowReply, check_stored
from deploy.errors import Failed
from gateway.intake.status import MISMATCH, REASONS
from operators.catalog.rows import QuarantineRow
from operators.dicom import instance, part10
from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Rejected, Unavailable
from operators.store import quarantine
from operators.store.ports import EventLog, ObjectStore, StoredObject
from schemas.events import InstanceQuarantined
from schemas.objects import Bucket
from schemas.topics import INSTANCE_QUARANTINED

UNSTORABLE = (
    "no door would store the content: {reason}; nothing was changed. Look at it (quarantine show HASH --save FILE), have its sender "
    "mend it and send it again, then discard it"
)
# Messages for a server that stops answering half-way: what is done already, and what to do.
NOT_PUBLISHED = "the content is stored, and also still in quarantine: {server} does not answer. Release it again"
NOT_REMOVED = "the content is stored, but its object is still in quarantine: {server} does not answer. Release it again"
NOT_LISTED = "the object is deleted, but it is still listed: {server} does not answer. Discard it again"
OTHER_TENANT = (
    "the STOW door stores for tenant {door}, not for {tenant}: name that tenant's door (FLUORO_API_TENANT, --stow-url)"
)


@dataclass(frozen=True)
class DecisionPorts:
    """The servers that a decision is carried out on, and who has made it.

    `store_file` is called with a Part 10 file's prefix and its data set, sends it to the STOW-RS door and returns the
    reply; the door stores for `tenant`. `folder` is where the object's bytes are kept while they are sent; None means
    the system's folder for temporary files.
    """

    store: ObjectStore
    events: EventLog
    store_file: Callable[[bytes, memoryview], StowReply]
    tenant: str
    folder: Path | None = None
    limits: ScanLimits = LIMITS
    # Who decides, and why.
    who: str = ""
    why: str = ""


async def release(ports: DecisionPorts, row: QuarantineRow) -> str:
    """Send an object to the STOW-RS door again and, once it is stored, remove it from quarantine; return a message.

    Raises Failed, with nothing changed, when the door does not store it. The object is removed last, so that a release
    that failed can be repeated.
    """
    before = await _latest_event(ports, row)
    if row.tenant != ports.tenant:
        raise Failed(OTHER_TENANT.format(door=ports.tenant, tenant=row.tenant))
    with tempfile.TemporaryFile(dir=ports.folder) as file:
        stored = await copy_object(ports.store, Bucket.QUARANTINE, row.object_key, row.data_hash, file)
        file.flush()
        if not stored.size_bytes:
            raise Failed("the object is empty: discard it")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as view:
            check_stored(await asyncio.to_thread(_send, ports, stored, view))
    event = quarantine.decided(before, "released", ports.store.now(), ports.who, ports.why)
    await _finish(ports.events.publish(INSTANCE_QUARANTINED, event), NOT_PUBLISHED)
    await _finish(ports.store.delete(Bucket.QUARANTINE, row.object_key), NOT_REMOVED)
    return f"Released: {row.data_hash} is stored."


async def discard(ports: DecisionPorts, row: QuarantineRow) -> str:
    """Delete an object from quarantine, then publish that it is discarded; return a message.

    A row whose object is gone can be discarded too. Raises Failed and Unavailable.
    """
    before = await _latest_event(ports, row)
    await ports.events.check()
    await ports.store.delete(Bucket.QUARANTINE, row.object_key)
    event = quarantine.decided(before, "discarded", ports.store.now(), ports.who, ports.why)
    await _finish(ports.events.publish(INSTANCE_QUARANTINED, event), NOT_LISTED)
    return f"Discarded: {row.data_hash} is deleted."


def _send(ports: DecisionPorts, stored: StoredObject, whole: memoryview) -> StowReply:
    """Send an object as a Part 10 file with a prefix of its own data set; raises Failed when no door could store it."""
    envelope = stored.envelope
    prefix_length, transfer_syntax = envelope.prefix_length, envelope.transfer_syntax
    try:
        if not transfer_syntax:
            prefix_length, transfer_syntax, *_ = part10.split_part10(whole)
        with whole[prefix_length:] as data_set:
            examined = instance.examine(data_set, transfer_syntax, prefix_length, ports.limits)
            prefix = bytes(whole[:prefix_length])
            if not prefix or REASONS.get(envelope.reason) is MISMATCH:
                # The sender named another instance than the data set does: the data set is right.
                prefix = part10.part10_prefix(examined.sop_class, examined.sop_uid, transfer_syntax)
            return ports.store_file(prefix, data_set)
    except Rejected as error:
        raise Failed(UNSTORABLE.format(reason=error.reason)) from None


async def _latest_event(ports: DecisionPorts, row: QuarantineRow) -> InstanceQuarantined:
    """Return the event of the quarantined object: from the object if the store has it, else from the catalog's row.

    The object may be newer than the row: the same content may have been refused again. Raises Failed when the content
    was released or discarded, and its object is gone. The store's time, which dates the decision, is known after this.
    """
    await ports.store.learn_time()
    stored = await ports.store.head(Bucket.QUARANTINE, row.object_key)
    if stored is not None:
        return quarantine.held(stored, row.until - row.stored_at)
    if row.state != "held":
        raise Failed(f"{row.data_hash} was {row.state} already")
    return InstanceQuarantined(**{**row.__dict__, "event_id": str(row.event_id)})


async def _finish(step: Awaitable[object], problem: str) -> None:
    """Await a late step of a decision; raises Failed when a server fails: `problem` names what is done already."""
    try:
        await step
    except Unavailable as error:
        raise Failed(problem.format(server=server_name(error))) from error
