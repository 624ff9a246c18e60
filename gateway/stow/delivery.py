"""The instances of one store request: each is stored while the next one arrives, a few at a time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog

from gateway.intake.accept import Acceptance, Incoming, Receipt
from gateway.intake.status import FAILED, Status, of_rejected, of_stored, of_unavailable
from gateway.intake.transfer import Transfer
from gateway.stow.multipart import MediaType
from operators.catalog.contents import Precedence
from operators.dicom.part10 import split_incoming_part10
from operators.errors import Rejected, Unavailable
from operators.http.media_types import DICOM
from operators.tasks import supervised
from schemas.objects import is_uid
from schemas.telemetry import GATEWAY_INSTANCES, GATEWAY_STORE_SECONDS

if TYPE_CHECKING:
    from operators.dicom.part10 import FileMeta

# How many bytes of a part arrive before its file meta is parsed; each further attempt waits for twice as many.
FIRST_PARSE_BYTES = 1024

log = structlog.get_logger()


@dataclass(frozen=True)
class PartResult:
    """The result of one part. Unknown UIDs are empty; study, series and content are known only of a stored instance."""

    status: Status
    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    content: Precedence | None = None

    @classmethod
    def of_receipt(cls, receipt: Receipt) -> Self:
        """Return the result of a part that is stored."""
        event = receipt.event
        status = of_stored(event.warnings, is_shown=receipt.is_shown)
        content = Precedence(event.stored_at, event.data_hash)
        return cls(status, event.sop_class, event.sop_uid, event.study_uid, event.series_uid, content)

    @property
    def is_stored(self) -> bool:
        """True if the part's instance is stored."""
        return bool(self.study_uid)


class PartDelivery:
    """One part while it arrives: first its file meta, then the data set, which goes into an incoming instance."""

    def __init__(self, acceptance: Acceptance, headers: Mapping[str, str]) -> None:
        self.flaw = _flaw(headers)
        self.meta: FileMeta | None = None
        self.incoming: Incoming | None = None
        self._failure: Exception | None = None
        self._acceptance = acceptance
        self._length = headers.get("content-length")
        self._size_bytes = 0
        self._beginning = bytearray()
        self._parse_bytes = FIRST_PARSE_BYTES

    @property
    def whole_hash(self) -> str | None:
        """Return the hash of the whole data set, in hex; None if it was not received whole."""
        return None if self.incoming is None else self.incoming.body.whole_hash

    def write(self, piece: memoryview) -> None:
        """Add the part's next bytes; the view may be reused afterwards."""
        self._size_bytes += len(piece)
        if self.flaw or self._failure:
            return
        try:
            self._take(piece)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this part alone; end() raises it
            self._failure = error

    def _take(self, piece: memoryview) -> None:
        if self.incoming is not None:
            self.incoming.body.write(piece)
        elif not self._beginning and len(piece) >= self._parse_bytes and self._begin(piece):
            return
        else:
            self._beginning += piece
            self._acceptance.room.hold(len(piece))
            self._parse_if_due()

    def end(self) -> Incoming:
        """Return the complete incoming instance; raises Rejected for wrong headers or a wrong Content-Length.

        Raises the error, of whatever kind, that its bytes led to.
        """
        if self._failure:
            raise self._failure
        if self.flaw:
            raise Rejected(self.flaw)
        if self._length not in (None, str(self._size_bytes)):
            raise Rejected("part-length")
        if self.incoming is None:
            with memoryview(self._beginning) as beginning:
                self._begin(beginning, is_whole=True)
            self._free_beginning()
        assert self.incoming is not None  # noqa: S101 - _begin() is always True for a whole part
        return self.incoming

    def close(self) -> None:
        """Free the memory and files of the part. May be called more than once."""
        self._free_beginning()
        if self.incoming is not None:
            self.incoming.body.close()

    def _parse_if_due(self) -> None:
        """Parse the file meta, seldom enough that many small pieces cost no more than one large piece."""
        if len(self._beginning) < self._parse_bytes:
            return
        with memoryview(self._beginning) as beginning:
            has_begun = self._begin(beginning)
        if has_begun:
            self._free_beginning()
        self._parse_bytes = 2 * len(self._beginning)

    def _free_beginning(self) -> None:
        self._acceptance.room.hold(-len(self._beginning))
        self._beginning = bytearray()

    def _begin(self, beginning: memoryview, *, is_whole: bool = False) -> bool:
        """Begin the incoming instance; False until it is clear where its data set begins, or that the part is not Part 10."""
        prefix_length = 0
        try:
            meta = split_incoming_part10(beginning, is_whole=is_whole)
        except Rejected as error:
            self.incoming = self._acceptance.receive_flawed(error.reason)
        else:
            if meta is None:
                return False
            self.meta, prefix_length = meta, meta.prefix_length
            prefix = bytes(beginning[:prefix_length])
            self.incoming = self._acceptance.receive_part10(meta.sop_class, meta.transfer_syntax, prefix)
        self.incoming.body.write(beginning[prefix_length:])
        return True


class Delivery:
    """The parts of one request, and their results in the same order.

    After store, broker or disk were unavailable once, no further part is tried: each would wait in vain.
    """

    def __init__(self, acceptance: Acceptance, transfer: Transfer, at_once: int) -> None:
        self._acceptance = acceptance
        self._transfer = transfer
        self._gate = asyncio.Semaphore(at_once)
        self._part: PartDelivery | None = None
        # The server or disk that was unavailable; empty while none was.
        self._unavailable: Unavailable | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[PartResult] = []

    @property
    def results(self) -> tuple[PartResult, ...]:
        """Return the results of the parts that have ended; they are final after settle()."""
        return tuple(self._results)

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begin a part with these headers."""
        self._part = PartDelivery(self._acceptance, headers)

    def write(self, piece: memoryview) -> None:
        """Add bytes to the part that has begun."""
        if self._part is not None:
            self._part.write(piece)

    async def end(self) -> None:
        """End the part and begin to store it; waits while `at_once` other parts are being stored."""
        await self._gate.acquire()
        part, self._part = self._part, None
        if part is None:
            self._gate.release()
            return
        self._results.append(PartResult(FAILED))
        task = supervised("store_part", self._settle_part(len(self._results) - 1, part))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until every ended part is stored or refused; drop a part that has not ended."""
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
            self._transfer.count_refused(error.reason)
            return self._refused(part, of_rejected(error), error.reason)
        except Unavailable as error:
            self._unavailable = error
            self._transfer.mark_partial()
            return self._refused(part, of_unavailable(error), error.what, why=error.why)
        except Exception:
            # An error of one part must not lose the results of the others.
            self._transfer.mark_partial()
            log.exception("instance_failed", transfer=self._transfer.transfer_id, hash=part.whole_hash)
            return self._refused(part, FAILED, "unexpected")

    async def _stored(self, part: PartDelivery) -> PartResult:
        incoming = part.end()
        if self._unavailable:
            raise Unavailable(self._unavailable.what, self._unavailable.why)
        return PartResult.of_receipt(await self._acceptance.accept(self._transfer, incoming))

    def _refused(self, part: PartDelivery, status: Status, reason: str, **more: str) -> PartResult:
        names = (part.meta.sop_class, part.meta.sop_uid) if part.meta else ("", "")
        sop_class, sop_uid = (uid if is_uid(uid) else "" for uid in names)
        transfer_id, data_hash = self._transfer.transfer_id, part.whole_hash
        log.warning(
            "instance_refused", reason=reason, hash=data_hash, transfer=transfer_id, sop_class=sop_class, **more
        )
        return PartResult(status, sop_class, sop_uid)


def _flaw(headers: Mapping[str, str]) -> str:
    """Return the reason to refuse a part for its headers, '' for none; the default Content-Type is application/dicom."""
    try:
        is_dicom = MediaType.of(headers.get("content-type", DICOM)).name == DICOM
    except Rejected:
        is_dicom = False
    is_plain = headers.get("content-transfer-encoding", "binary").lower() in ("binary", "8bit", "7bit")
    return "" if is_dicom and is_plain else "part-type"
