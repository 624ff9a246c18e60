"""One association: a socket, its requests in order, its time limits, its end.

The protocol object does what cannot wait; one coroutine at a time answers requests. Every wait has a limit.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, cast

import structlog

from gateway.dimse.admission import Admission, Visitor
from gateway.dimse.messages import Limits, Messages, Request, service_of
from gateway.dimse.peers import Caller, Certificate, Peer, Peers
from gateway.dimse.tls import certificate_of
from gateway.intake.accept import Incoming
from gateway.intake.lifespan import Intake
from gateway.intake.status import OUT_OF_RESOURCES, STORED, Status, of_rejected, of_stored
from operators.dimse.commands import C_CANCEL, response
from operators.dimse.negotiation import AssociateAccepted, AssociateRejected, Terms, negotiate, read_titles, reject
from operators.dimse.pdu import IS_COMMAND, RELEASE_RP_PDU, PduReader, Violation, abort_pdu, data_pdus
from operators.errors import Rejected, Unavailable
from schemas.settings.dimse import DimseSettings
from schemas.telemetry import (
    GATEWAY_ABORTED,
    GATEWAY_ASSOCIATED,
    GATEWAY_ASSOCIATIONS,
    GATEWAY_INSTANCES,
    GATEWAY_STORE_SECONDS,
    GATEWAY_TURNED_AWAY,
)

if TYPE_CHECKING:
    from gateway.intake.transfer import Transfer

log = structlog.get_logger()

WATCH_S = 1.0
DISCARDED_BYTES = 4096


@dataclass
class Door:
    """What the associations of one process share."""

    settings: DimseSettings
    terms: Terms
    inside: Intake
    admission: Admission
    # Replaced whole when the file changes: associations keep the peer that they were given.
    peers: Peers
    connections: set["Association"] = field(default_factory=set)

    @property
    def associated(self) -> int:
        """Return how many associations there are."""
        return self.admission.associated

    def find(self, pdu: bytes, association: "Association") -> Peer | str:
        """Return the peer that asks, or the reason for its refusal; of who may not call from there nothing is read."""
        address = association.visitor.address
        if not self.peers.knows(address):
            return "address"
        called_ae, calling_ae = read_titles(pdu)
        return self.peers.find(Caller(address, calling_ae, called_ae, association.certificate))

    def answer(self, pdu: bytes, peer: Peer) -> AssociateAccepted | AssociateRejected:
        """Answer the request of a peer."""
        if self.inside.room.is_full:
            return reject("memory")
        return negotiate(pdu, self.terms, lambda abstract_syntax: service_of(abstract_syntax) in peer.services)

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


class State(IntEnum):
    """How far an association has come; never back. Its place at the door is its own until it is GONE, however it ends."""

    ENTERING = 0
    # Connected, and its request not answered yet.
    WAITING = 1
    OPEN = 2
    # It has asked for release: the requests before are answered, more may not come (PS3.8 9.2, Sta8).
    RELEASING = 3
    # The door closes: what is in work is answered, and nothing more.
    STOPPING = 4
    # Its last word is said, a release, a rejection or an abort: nothing is read, the peer has a while to close.
    OVER = 5
    GONE = 6


class Association(asyncio.BufferedProtocol):
    """The acceptor's side of one connection."""

    def __init__(self, door: Door, visitor: Visitor) -> None:
        self.visitor = visitor
        self.entering: asyncio.Task[object] | None = None
        self.working: asyncio.Task[None] | None = None
        self._peer: Peer | None = None
        self._door = door
        self.settings = self._settings = door.settings
        self._loop = asyncio.get_running_loop()
        self._reader = PduReader(
            self, first_bytes=door.settings.associate_pdu_bytes, most_bytes=door.settings.max_pdu_bytes
        )
        self._accepted: AssociateAccepted | None = None
        self._messages: Messages | None = None
        self._transfer: Transfer | None = None
        self._requests: deque[Request | None] = deque()
        self._state = State.ENTERING
        self._is_paused = self._has_begun = False
        self._connected_at = self._last_byte_at = self._pdu_began_at = self._loop.time()
        # Until when it brought instances at a fair pace, None while one is stored; bytes since it was last looked at.
        self._brisk_at: float | None = self._connected_at
        self._looked_at = self._connected_at
        self._pdus = self._bytes = 0
        self._watch: asyncio.TimerHandle | None = None

    # What admission asks.

    @property
    def calling_ae(self) -> str:
        """Return the calling AE title; empty before it has associated."""
        return self._accepted.calling_ae if self._accepted else ""

    @property
    def has_begun(self) -> bool:
        """True if it has begun to send an instance, or is over. Echoes cost a caller nothing, and prove nothing."""
        return self._has_begun or self._is_over

    def quiet_s(self) -> float | None:
        """Return for how long it has brought next to nothing; None while an instance is stored, or it is closing."""
        if self._brisk_at is None or self._transport.is_closing():
            return None
        return inf if self._is_over else self._loop.time() - self._brisk_at

    def give_way(self) -> None:
        """Leave the place to another: at once when it has been told already, and when it is not here yet."""
        if self._state is State.ENTERING and self.entering is not None:
            self.entering.cancel()
        elif self._is_over:
            self._transport.abort()
        else:
            self.abort("gave-way")

    @property
    def _is_over(self) -> bool:
        return self._state >= State.OVER

    @property
    def certificate(self) -> Certificate | None:
        """Return the certificate that the other side has shown."""
        return certificate_of(self._transport)

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: with TLS, after the handshake."""
        self._transport, self._state = cast("asyncio.Transport", transport), State.WAITING
        self._door.connections.add(self)
        self._watch = self._loop.call_later(self._watch_s, self._look)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        del sizehint
        return memoryview(bytearray(DISCARDED_BYTES)) if self._is_over else self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        if self._is_over:
            return
        was_between, self._last_byte_at = self._reader.is_between_pdus, self._loop.time()
        try:
            self._reader.received(nbytes)
        except Violation as violation:
            self.abort(violation.reason, violation.code)
            return
        if was_between or self._reader.completed != self._pdus:
            self._pdus = self._reader.completed
            self._pdu_began_at = self._last_byte_at

    def eof_received(self) -> bool:
        """Close our side too, soon even when our answers are not read."""
        self._cut_off_later()
        return False

    def pause_writing(self) -> None:
        """Our answers are small: a peer that lets them pile up does not read."""
        self.abort("not-reading")

    def connection_lost(self, exc: Exception | None) -> None:
        """End, after what is being stored."""
        del exc
        self._state = State.GONE
        if self._watch is not None:
            self._watch.cancel()
        self._door.connections.discard(self)
        if self._messages is not None:
            self._messages.drop()
        if self.working is None:
            self._leave()

    def turned_away(self, reason: str) -> None:
        """End a connection that never was: it was refused, or its TLS handshake failed."""
        GATEWAY_TURNED_AWAY.labels(reason).inc()
        log.warning("connection_refused", reason=reason, address=str(self.visitor.address))
        self._state = State.GONE
        self._leave()

    # What the reader tells.

    def associate_requested(self, pdu: bytes) -> None:
        """Answer the association request."""
        peer = self._door.find(pdu, self)
        if isinstance(peer, str):
            self._reject(reject(peer))
            return
        self._peer = peer
        answer = self._door.answer(pdu, peer)
        if isinstance(answer, AssociateRejected):
            self._reject(answer)
            return
        self._accepted = answer
        if self._door.admission.admit(self, peer):
            self._begin(answer, peer)
        else:
            self._reject(reject("too-many"))

    def _reject(self, answer: AssociateRejected) -> None:
        GATEWAY_ASSOCIATED.labels(answer.reason).inc()
        log.warning("association_refused", reason=answer.reason, **self._who)
        self._say_last(answer.pdu)

    @property
    def _who(self) -> dict[str, str]:
        """Say in a log who this is: the titles of a caller that nobody knows could be anything."""
        return {"address": str(self.visitor.address)} | ({"peer": self._peer.name} if self._peer else {})

    def _begin(self, answer: AssociateAccepted, peer: Peer) -> None:
        self._state = State.OPEN
        self._transport.write(answer.pdu)
        self._reader.widen()
        GATEWAY_ASSOCIATED.labels("accepted").inc()
        GATEWAY_ASSOCIATIONS.inc()
        self._brisk_at = self._loop.time()
        self._transfer = self._door.inside.new_transfer(peer.tenant, answer.calling_ae, answer.called_ae)
        limits = Limits(self._settings.command_bytes, self._settings.fragments, self._settings.fragment_bytes)
        self._messages = Messages(answer.contexts, self._arrive, self._requested, limits)

    def _arrive(self, sop_class: str, sop_uid: str, transfer_syntax: str) -> Incoming:
        self._has_begun = True
        return self._door.inside.acceptance.receive(sop_class, sop_uid, transfer_syntax)

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Hand the piece on; the reader lets nothing through before the association request."""
        messages = self._listening()
        if messages is not None:
            # Commands are not counted: who only echoes brings nothing.
            self._bytes += 0 if control & IS_COMMAND else len(piece)
            messages.data_arrived(context_id, control, piece, is_whole=is_whole)

    def release_requested(self) -> None:
        """Answer in turn, after the requests that came before."""
        messages = self._listening()
        if messages is None:
            return
        if not messages.is_between:
            raise Violation("release-in-message", 2)
        self._state = State.RELEASING
        self._requested(None)

    def _listening(self) -> Messages | None:
        """Return what puts messages together, while any may come; raises Violation after a release request."""
        if self._state is State.RELEASING:
            raise Violation("unexpected-pdu", 2)
        return self._messages if self._state is State.OPEN else None

    def aborted(self) -> None:
        """Count it and close at once: what was not read will not be. The connection's end does the rest."""
        GATEWAY_ABORTED.labels("peer").inc()
        self._fall_silent()
        self._transport.abort()

    # Requests.

    def _requested(self, request: Request | None) -> None:
        if request is not None and request.arrival is not None and self._brisk_at is not None:
            self._brisk_at = self._loop.time()
        self._requests.append(request)
        if request is not None and len(self._requests) > self._settings.unanswered_requests:
            # One buffer has room for 3,000 echoes, and the loop for nobody else while they are read.
            raise Violation("too-many-unanswered")
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
            if self._requests:
                # 3,000 echoes fit into one buffer: who does not wait for answers lets everybody else have a turn.
                await asyncio.sleep(0)
            self._read_on()
            if self._state is State.STOPPING:
                self.abort("shutdown")

    def _read_on(self) -> None:
        """Receive again, once all that came is answered: also of who was released, or its end would not be seen."""
        if self._is_paused and not self._requests and not self._transport.is_closing():
            self._is_paused = False
            self._last_byte_at = self._loop.time()
            self._transport.resume_reading()

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self.working = None
        if not task.cancelled() and (error := task.exception()):
            # The log may fail too: then the peer knows at least.
            self.abort("internal")
            log.error("association_failed", exc_info=error)
        if self._state is State.GONE:
            self._leave()
        elif self._requests and self._state < State.STOPPING:
            # It came between the work's end and this being told of it.
            self._begin_work()

    async def _answer(self, request: Request) -> None:
        status = STORED if request.arrival is None else await self._store(request.arrival)
        if request.command.field == C_CANCEL:
            # It has no answer, and nothing here takes long enough to be cancelled (PS3.7 9.3.2.3).
            return
        if not self._is_over and self._accepted is not None:
            command = response(request.command, status.code, status.comment)
            self._transport.write(data_pdus(request.context_id, command, self._accepted.peer_pdu_bytes))
            self._last_byte_at = self._loop.time()

    async def _store(self, arrival: Incoming) -> Status:
        began_at, self._brisk_at = self._loop.time(), None
        try:
            status = await self._outcome(arrival)
        finally:
            arrival.body.close()
            self._brisk_at = self._loop.time()
        GATEWAY_INSTANCES.labels(status.outcome).inc()
        GATEWAY_STORE_SECONDS.observe(self._loop.time() - began_at)
        return status

    async def _outcome(self, arrival: Incoming) -> Status:
        transfer = cast("Transfer", self._transfer)
        try:
            receipt = await self._door.inside.acceptance.accept(transfer, arrival)
        except Rejected as error:
            self._log_refused(arrival, error.reason)
            return of_rejected(error)
        except Unavailable as error:
            self._log_refused(arrival, error.what)
            return OUT_OF_RESOURCES
        return of_stored(receipt.event.warnings)

    def _log_refused(self, arrival: Incoming, reason: str) -> None:
        transfer = cast("Transfer", self._transfer)
        log.warning("instance_refused", reason=reason, transfer=transfer.transfer_id, sop_class=arrival.sop_class)

    # The end.

    def _release(self) -> None:
        self._say_last(RELEASE_RP_PDU)
        if self._transfer is not None:
            self._transfer.complete()
        self._end_transfer()

    def stop(self) -> None:
        """End now, or after what is being stored."""
        if self.working is None:
            self.abort("shutdown")
        elif not self._is_over:
            self._state = State.STOPPING

    def close(self) -> None:
        """Close the connection, whatever was said; once, for a TLS transport forgets its socket the second time."""
        if not self._transport.is_closing():
            self._transport.close()

    def abort(self, reason: str, code: int = 0) -> None:
        """Send an A-ABORT and close."""
        if self._is_over:
            return
        GATEWAY_ABORTED.labels(reason).inc()
        log.warning("association_aborted", reason=reason, **self._who)
        self._say_last(abort_pdu(code))
        self.close()

    def _say_last(self, pdu: bytes) -> None:
        """Return the peer a while to hear it and to close (PS3.8 9.2.3): who closes first may take the answer from it."""
        self._fall_silent()
        self._transport.write(pdu)
        self._cut_off_later()

    def _fall_silent(self) -> None:
        """Hear and say nothing more. What counts it among those who are here goes on until the connection has gone."""
        self._state = State.OVER
        self._reader.stop()

    def _cut_off_later(self) -> None:
        """Return the peer a while to go: instead of the watch, which ends with the connection as this must."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_later(self._settings.silence_s, self._transport.abort)

    def _leave(self) -> None:
        """Return the place back, when the connection has gone and nothing of it is in work; nowhere else."""
        for request in self._requests:
            if request is not None and request.arrival is not None:
                request.arrival.body.close()
        self._requests.clear()
        self._door.admission.leave(self)
        self._end_transfer()

    def _end_transfer(self) -> None:
        """End the transfer, once; as aborted unless it is complete."""
        transfer, self._transfer = self._transfer, None
        if transfer is None:
            return
        GATEWAY_ASSOCIATIONS.dec()
        transfer.abort()
        log.info(
            "association_ended",
            transfer=transfer.transfer_id,
            outcome=transfer.outcome,
            instances=transfer.instances,
            **self._who,
        )

    # Time.

    @property
    def _limits_s(self) -> tuple[float, ...]:
        known = self._settings
        idle_s = self._peer.idle_s if self._peer else known.idle_s
        return known.associate_s, known.silence_s, known.stall_s, known.yield_s, idle_s

    @property
    def _watch_s(self) -> float:
        return min(WATCH_S, *(limit_s / 4 for limit_s in self._limits_s))

    def _look(self) -> None:
        if self._is_over:
            return
        now = self._loop.time()
        self._note_pace(now)
        reason = self._overdue(now)
        if reason is None:
            self._watch = self._loop.call_later(self._watch_s, self._look)
        else:
            self.abort(reason)

    def _note_pace(self, now: float) -> None:
        is_brisk = self._bytes > self._settings.slowest_bytes_per_s * (now - self._looked_at)
        if is_brisk and self._brisk_at is not None:
            self._brisk_at = now
        self._looked_at, self._bytes = now, 0

    def _overdue(self, now: float) -> str | None:
        """Name the limit that is passed; while an instance is stored, its own limits hold."""
        if self.working is not None:
            return None
        if self._peer is None or self._messages is None:
            return "no-associate" if now - self._connected_at > self._settings.associate_s else None
        silent_s = now - self._last_byte_at
        if self._reader.is_between_pdus:
            reason, limit_s = self._patience(self._peer, self._messages)
            return reason if silent_s > limit_s else None
        if silent_s > self._settings.silence_s:
            return "silent"
        return "slow" if self._is_slow(now - self._pdu_began_at) else None

    def _patience(self, peer: Peer, messages: Messages) -> tuple[str, float]:
        """Return how long no PDU need come, and what it is called when none does."""
        # The first PDU was the association request.
        if self._pdus > 1 and messages.is_between:
            return "idle", peer.idle_s
        return "stalled", min(self._settings.stall_s, peer.idle_s)

    def _is_slow(self, elapsed_s: float) -> bool:
        wanted = self._settings.slowest_bytes_per_s * elapsed_s
        return elapsed_s > self._settings.silence_s and self._reader.pdu_bytes < wanted
