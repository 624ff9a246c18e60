"""The instances of one STOW request: each is stored while the next one comes, a few at a time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog

from gateway.intake.accept import Acceptance, Incoming, Receipt
from gateway.intake.status import FAILED, OUT_OF_RESOURCES, Status, of_rejected, of_stored
from gateway.intake.transfer import Transfer
from gateway.stow.multipart import MediaType
from operators.dicom.part10 import split_incoming_part10
from operators.errors import Rejected, Unavailable
from operators.http.media_types import DICOM
from schemas.objects import is_uid
from schemas.telemetry import GATEWAY_INSTANCES, GATEWAY_STORE_SECONDS

if TYPE_CHECKING:
    from operators.dicom.part10 import FileMeta

# File metas are looked for in so much, and then in twice as much again and again.
FIRST_LOOK_BYTES = 1024

log = structlog.get_logger()


@dataclass(frozen=True)
class PartResult:
    """What became of one part. UIDs are empty where they are not known; study and series are those of what is stored."""

    status: Status
    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""

    @classmethod
    def of_receipt(cls, receipt: Receipt) -> Self:
        """Return what became of a part that is stored."""
        event = receipt.event
        return cls(of_stored(event.warnings), event.sop_class, event.sop_uid, event.study_uid, event.series_uid)

    @property
    def is_stored(self) -> bool:
        """True if it is kept and shown."""
        return bool(self.study_uid)


class PartDelivery:
    """One part as it comes: its file meta is found first, everything behind it goes into an arrival."""

    def __init__(self, acceptance: Acceptance, headers: Mapping[str, str]) -> None:
        self.flaw = _flaw(headers)
        self.meta: FileMeta | None = None
        self.arrival: Incoming | None = None
        self._acceptance = acceptance
        self._length = headers.get("content-length")
        self._size_bytes = 0
        self._beginning = bytearray()
        self._look_bytes = FIRST_LOOK_BYTES

    def write(self, piece: memoryview) -> None:
        """Take the part's next bytes; the view may be reused afterwards."""
        self._size_bytes += len(piece)
        if self.flaw:
            return
        if self.arrival is not None:
            self.arrival.body.write(piece)
        elif not self._beginning and len(piece) >= self._look_bytes and self._begin(piece):
            return
        else:
            self._beginning += piece
            self._acceptance.room.hold(len(piece))
            self._look()

    def end(self) -> Incoming:
        """Return the arrival, now that all of it is here; raises Rejected for a part that is not what it says."""
        if self.flaw:
            raise Rejected(self.flaw)
        if self._length not in (None, str(self._size_bytes)):
            raise Rejected("part-length")
        if self.arrival is None:
            with memoryview(self._beginning) as beginning:
                self._begin(beginning, is_whole=True)
            self._forget()
        assert self.arrival is not None  # noqa: S101 - what is whole has begun
        return self.arrival

    def close(self) -> None:
        """Give back what it holds."""
        self._forget()
        if self.arrival is not None:
            self.arrival.body.close()

    def _look(self) -> None:
        """Look for the end of the file meta, seldom enough that many small pieces cost no more than one large one."""
        if len(self._beginning) < self._look_bytes:
            return
        with memoryview(self._beginning) as beginning:
            has_begun = self._begin(beginning)
        if has_begun:
            self._forget()
        self._look_bytes = 2 * len(self._beginning)

    def _forget(self) -> None:
        self._acceptance.room.hold(-len(self._beginning))
        self._beginning = bytearray()

    def _begin(self, beginning: memoryview, *, is_whole: bool = False) -> bool:
        """Make the arrival when it is clear where the data set begins, or that nothing here is a Part 10 file."""
        prefix_length = 0
        try:
            meta = split_incoming_part10(beginning, is_whole=is_whole)
        except Rejected as error:
            self.arrival = self._acceptance.receive_flawed(error.reason)
        else:
            if meta is None:
                return False
            self.meta, prefix_length = meta, meta.prefix_length
            prefix = bytes(beginning[:prefix_length])
            self.arrival = self._acceptance.receive_part10(meta.sop_class, meta.transfer_syntax, prefix)
        self.arrival.body.write(beginning[prefix_length:])
        return True


class Delivery:
    """What one request brings: results in the order of its parts.

    Once something behind us could not answer, nothing more is tried: each part would wait for it anew.
    """

    def __init__(self, acceptance: Acceptance, transfer: Transfer, at_once: int) -> None:
        self._acceptance = acceptance
        self._transfer = transfer
        self._gate = asyncio.Semaphore(at_once)
        self._part: PartDelivery | None = None
        self._away = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[PartResult] = []

    @property
    def results(self) -> tuple[PartResult, ...]:
        """Return what became of every part that has ended; complete after settle()."""
        return tuple(self._results)

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begin a part."""
        self._part = PartDelivery(self._acceptance, headers)

    def write(self, piece: memoryview) -> None:
        """Take bytes of the part that has begun."""
        if self._part is not None:
            self._part.write(piece)

    async def end(self) -> None:
        """End the part; return when it is being stored, which waits while too many others are."""
        await self._gate.acquire()
        part, self._part = self._part, None
        if part is None:
            self._gate.release()
            return
        self._results.append(PartResult(FAILED))
        task = asyncio.create_task(self._settle_part(len(self._results) - 1, part))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Return when nothing is being stored any more; what had not all come is forgotten."""
        if self._part is not None:
            self._part.close()
            self._part = None
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _settle_part(self, number: int, part: PartDelivery) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            self._results[number] = result = await self._result(part)
        finally:
            part.close()
            self._gate.release()
        GATEWAY_INSTANCES.labels(result.status.outcome).inc()
        GATEWAY_STORE_SECONDS.observe(loop.time() - began_at)

    async def _result(self, part: PartDelivery) -> PartResult:
        try:
            return await self._stored(part)
        except Rejected as error:
            return self._refused(part, of_rejected(error), error.reason)
        except Unavailable as error:
            self._away = error.what
            self._transfer.mark_partial()
            return self._refused(part, OUT_OF_RESOURCES, error.what)
        except Exception:
            # The edge: the other parts have results of their own.
            self._transfer.mark_partial()
            log.exception("instance_failed", transfer=self._transfer.transfer_id)
            return self._refused(part, FAILED, "unexpected")

    async def _stored(self, part: PartDelivery) -> PartResult:
        arrival = part.end()
        if self._away:
            raise Unavailable(self._away)
        return PartResult.of_receipt(await self._acceptance.accept(self._transfer, arrival))

    def _refused(self, part: PartDelivery, status: Status, reason: str) -> PartResult:
        said = part.meta
        names = (said.sop_class, said.sop_uid) if said else ("", "")
        sop_class, sop_uid = (uid if is_uid(uid) else "" for uid in names)
        log.warning("instance_refused", reason=reason, transfer=self._transfer.transfer_id, sop_class=sop_class)
        return PartResult(status, sop_class, sop_uid)


def _flaw(headers: Mapping[str, str]) -> str:
    """Return why a part is not to be read; a part that does not say what it is, is what the request says."""
    try:
        is_dicom = MediaType.of(headers.get("content-type", DICOM)).name == DICOM
    except Rejected:
        is_dicom = False
    is_plain = headers.get("content-transfer-encoding", "binary").lower() in ("binary", "8bit", "7bit")
    return "" if is_dicom and is_plain else "part-type"
