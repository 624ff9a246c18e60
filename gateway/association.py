"""One association: a socket, its requests in order, its time limits, its end.

The protocol object does what cannot wait; one coroutine at a time answers requests. Every wait has a limit.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import structlog

from gateway.accept import Arrival, Transfer
from gateway.dimse import Messages, Request, response
from gateway.intake import Intake
from gateway.status import OUT_OF_RESOURCES, STORED, Status, of_rejected, of_stored
from gateway.upper_layer import (
    RELEASE_RP,
    Accepted,
    Reader,
    Refused,
    Terms,
    Violation,
    abort_pdu,
    data_pdus,
    negotiate,
    refuse,
)
from operators.errors import Rejected, Unavailable
from schemas.events import Outcome
from schemas.settings import GatewaySettings
from schemas.telemetry import (
    GATEWAY_ABORTED,
    GATEWAY_ASSOCIATED,
    GATEWAY_ASSOCIATIONS,
    GATEWAY_INSTANCES,
    GATEWAY_STORE_SECONDS,
)

log = structlog.get_logger()

# Connections that have not associated yet may be as many again as associations.
CONNECTIONS_PER_ASSOCIATION = 2
WATCH_S = 1.0
DISCARDED_BYTES = 4096


@dataclass
class Door:
    """What the associations of one process share."""

    settings: GatewaySettings
    terms: Terms
    inside: Intake
    connections: set["Association"] = field(default_factory=set)
    associated: int = 0

    @property
    def most_associations(self) -> int:
        """Give this process's share of the associations."""
        return max(1, self.settings.associations // self.settings.processes)

    def refusal(self) -> Refused | None:
        """Say why no association may begin now."""
        if self.associated >= self.most_associations:
            return refuse("too-many")
        return refuse("memory") if self.inside.room.is_full else None

    async def close(self, within_s: float) -> None:
        """Let what is being stored be answered, bounded, and end every association."""
        for one in list(self.connections):
            one.stop()
        working = [one.working for one in self.connections if one.working is not None]
        if working:
            _, late = await asyncio.wait(working, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for one in list(self.connections):
            one.abort("shutdown")
            one.close()


class Association(asyncio.BufferedProtocol):
    """The acceptor's side of one connection."""

    def __init__(self, door: Door) -> None:
        self.working: asyncio.Task[None] | None = None
        self._door = door
        self._settings = door.settings
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(self, first_bytes=door.settings.first_pdu_bytes, most_bytes=door.settings.max_pdu_bytes)
        self._accepted: Accepted | None = None
        self._messages: Messages | None = None
        self._transfer: Transfer | None = None
        self._requests: deque[Request | None] = deque()
        self._is_over = self._is_stopping = self._is_paused = False
        self._is_released = self._has_ended = False
        self._connected_at = self._last_byte_at = self._pdu_began_at = self._loop.time()
        self._pdus = 0
        self._watch = self._loop.call_later(self._watch_s, self._look)

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; refuse to when connections without associations crowd the door."""
        self._transport = cast("asyncio.Transport", transport)
        self._door.connections.add(self)
        if len(self._door.connections) > CONNECTIONS_PER_ASSOCIATION * self._door.most_associations:
            self.abort("crowd")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the buffer to receive into."""
        del sizehint
        return memoryview(bytearray(DISCARDED_BYTES)) if self._is_over else self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        if self._is_over:
            return
        was_between, self._last_byte_at = self._reader.is_between, self._loop.time()
        try:
            self._reader.received(nbytes)
        except Violation as violation:
            self.abort(violation.reason, violation.code)
            return
        if was_between or self._reader.completed != self._pdus:
            self._pdus = self._reader.completed
            self._pdu_began_at = self._last_byte_at

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def pause_writing(self) -> None:
        """Our answers are small: a peer that lets them pile up does not read."""
        self.abort("not-reading")

    def connection_lost(self, exc: Exception | None) -> None:
        """End, after what is being stored."""
        del exc
        self._is_over = True
        self._watch.cancel()
        self._door.connections.discard(self)
        if self._messages is not None:
            self._messages.drop()
        if self.working is None:
            self._end()

    # What the reader tells.

    def associate_requested(self, pdu: bytes) -> None:
        """Answer the association request."""
        answer = self._door.refusal() or negotiate(pdu, self._door.terms)
        self._transport.write(answer.reply)
        if isinstance(answer, Refused):
            GATEWAY_ASSOCIATED.labels(answer.reason).inc()
            log.warning("association_refused", reason=answer.reason)
            self._is_over = True
            # The peer closes (PS3.8 9.2.3, AE-8): who is quicker than that may take the rejection from it.
            self._loop.call_later(self._settings.silence_s, self._transport.abort)
            return
        GATEWAY_ASSOCIATED.labels("accepted").inc()
        GATEWAY_ASSOCIATIONS.inc()
        self._door.associated += 1
        self._accepted = answer
        self._transfer = Transfer(self._settings.tenant, answer.calling_ae, answer.called_ae)
        self._messages = Messages(answer.contexts, self._door.inside.acceptance.arrive, self._requested)

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Hand the piece on; the reader lets nothing through before the association request."""
        if self._messages is not None and not self._is_released:
            self._messages.data_arrived(context_id, control, piece, is_whole=is_whole)

    def release_requested(self) -> None:
        """Answer in turn, after the requests that came before."""
        if self._messages is not None and not self._messages.is_between:
            raise Violation("release-in-message", 2)
        self._requested(None)

    def aborted(self) -> None:
        """Count it and close; the connection's end does the rest."""
        GATEWAY_ABORTED.labels("peer").inc()
        self._is_over = True
        self._transport.close()

    # Requests.

    def _requested(self, request: Request | None) -> None:
        self._requests.append(request)
        if self.working is None:
            self._begin_work()
        elif not self._is_paused:
            # The next instance may arrive while one is stored, a third one waits in the socket.
            self._is_paused = True
            self._transport.pause_reading()

    def _begin_work(self) -> None:
        self.working = self._loop.create_task(self._work())
        self.working.add_done_callback(self._worked)

    async def _work(self) -> None:
        while self._requests and not self._is_over:
            request = self._requests.popleft()
            if request is None:
                self._release()
            else:
                await self._answer(request)
            if self._is_paused and not self._requests and not self._is_over:
                self._is_paused = False
                self._last_byte_at = self._loop.time()
                self._transport.resume_reading()
            if self._is_stopping:
                self.abort("shutdown")

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self.working = None
        if not task.cancelled() and (error := task.exception()):
            # The log may fail too: then the peer knows at least.
            self.abort("internal")
            log.error("association_failed", exc_info=error)
        if self._is_over:
            self._end()
        elif self._requests:
            # It came between the work's end and this being told of it.
            self._begin_work()

    async def _answer(self, request: Request) -> None:
        status = STORED if request.arrival is None else await self._store(request.arrival)
        if not self._is_over and self._accepted is not None:
            command = response(request.command, status)
            self._transport.write(data_pdus(request.context_id, command, self._accepted.peer_pdu_bytes))
            self._last_byte_at = self._loop.time()

    async def _store(self, arrival: Arrival) -> Status:
        began_at = self._loop.time()
        try:
            status = await self._outcome(arrival)
        finally:
            arrival.body.close()
        GATEWAY_INSTANCES.labels(status.outcome).inc()
        GATEWAY_STORE_SECONDS.observe(self._loop.time() - began_at)
        return status

    async def _outcome(self, arrival: Arrival) -> Status:
        transfer = cast("Transfer", self._transfer)
        try:
            receipt = await self._door.inside.acceptance.accept(transfer, arrival)
        except Rejected as error:
            self._log_refused(arrival, error.reason)
            return of_rejected(error)
        except Unavailable as error:
            transfer.was_refused = True
            self._log_refused(arrival, error.what)
            return OUT_OF_RESOURCES
        return of_stored(receipt.event.warnings)

    def _log_refused(self, arrival: Arrival, reason: str) -> None:
        transfer = cast("Transfer", self._transfer)
        log.warning("instance_refused", reason=reason, transfer=transfer.transfer_id, sop_class=arrival.sop_class)

    # The end.

    def _release(self) -> None:
        self._is_released = True
        self._transport.write(RELEASE_RP)
        self._end()

    def stop(self) -> None:
        """End now, or after what is being stored."""
        self._is_stopping = True
        if self.working is None:
            self.abort("shutdown")

    def close(self) -> None:
        """Close the connection, whatever was said."""
        self._transport.close()

    def abort(self, reason: str, code: int = 0) -> None:
        """Send an A-ABORT and close."""
        if self._is_over:
            return
        self._is_over = True
        if not self._is_released:
            GATEWAY_ABORTED.labels(reason).inc()
            log.warning("association_aborted", reason=reason)
            self._transport.write(abort_pdu(code))
        self._transport.close()
        # A peer that does not read would keep a closing transport open for ever.
        self._loop.call_later(self._settings.silence_s, self._transport.abort)

    def _end(self) -> None:
        """Close the transfer, once."""
        if self._has_ended:
            return
        self._has_ended = True
        for request in self._requests:
            if request is not None and request.arrival is not None:
                request.arrival.body.close()
        self._requests.clear()
        if self._transfer is None:
            return
        self._door.associated -= 1
        GATEWAY_ASSOCIATIONS.dec()
        outcome = self._outcome_of(self._transfer)
        if self._transfer.has_begun:
            self._door.inside.outbox.end(self._transfer.transfer_id, outcome)
        log.info(
            "association_ended",
            transfer=self._transfer.transfer_id,
            outcome=outcome,
            instances=self._transfer.instances,
        )

    def _outcome_of(self, transfer: Transfer) -> Outcome:
        if not self._is_released:
            return "aborted"
        return "partial" if transfer.was_refused else "well"

    # Time.

    @property
    def _watch_s(self) -> float:
        return min(WATCH_S, self._settings.associate_s / 4, self._settings.silence_s / 4, self._settings.idle_s / 4)

    def _look(self) -> None:
        if self._is_over:
            return
        reason = self._overdue(self._loop.time())
        if reason is None:
            self._watch = self._loop.call_later(self._watch_s, self._look)
        else:
            self.abort(reason)

    def _overdue(self, now: float) -> str | None:
        """Name the limit that is passed; while an instance is stored, its own limits hold."""
        silent_s = now - self._last_byte_at
        if self.working is not None:
            return None
        if self._accepted is None:
            return "no-associate" if now - self._connected_at > self._settings.associate_s else None
        if self._is_released:
            return "not-closed" if silent_s > self._settings.silence_s else None
        if self._reader.is_between:
            return "idle" if silent_s > self._settings.idle_s else None
        if silent_s > self._settings.silence_s:
            return "silent"
        return "slow" if self._is_slow(now - self._pdu_began_at) else None

    def _is_slow(self, elapsed_s: float) -> bool:
        wanted = self._settings.slowest_bytes_per_s * elapsed_s
        return elapsed_s > self._settings.silence_s and self._reader.pdu_bytes < wanted
