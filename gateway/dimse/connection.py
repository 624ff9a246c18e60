"""One connection to the DIMSE door, as an asyncio protocol: its bytes, its states and its end."""

import asyncio
from dataclasses import dataclass
from math import inf
from typing import cast

import structlog

from gateway.dimse.admission import ConnectionSource
from gateway.dimse.door import Door
from gateway.dimse.messages import MessageAssembler, MessageLimits
from gateway.dimse.pace import Pace
from gateway.dimse.peers import Peer
from gateway.dimse.refusals import report, report_accepted
from gateway.dimse.requests import Requests
from gateway.dimse.services.service import Association
from gateway.dimse.state import AssociationState
from gateway.dimse.tls import certificate_of
from gateway.intake.transfer import Sender
from operators.dimse.negotiation import AssociateAccepted, AssociateRejected, reject
from operators.dimse.pdu import IS_COMMAND, RELEASE_RP_PDU, PduReader, Violation, abort_pdu
from schemas.telemetry import (
    GATEWAY_ABORTED,
    GATEWAY_ASSOCIATED,
    GATEWAY_ASSOCIATIONS,
    GATEWAY_TURNED_AWAY,
)

log = structlog.get_logger()

DISCARDED_BYTES = 4096
# Python 3.11 calls a function for each access to a member of an enumeration.
ESTABLISHED = AssociationState.ESTABLISHED


@dataclass(frozen=True)
class Exchange:
    """The incoming messages of an accepted association, and the requests that they make."""

    messages: MessageAssembler
    requests: Requests


class DimseConnection(asyncio.BufferedProtocol):
    """The acceptor's side of one connection, from its socket to its end. Every wait for the peer has a limit."""

    def __init__(self, door: Door, source: ConnectionSource) -> None:
        self.source = source
        # Empty until an association request is negotiated.
        self.calling_ae = ""
        self.state = AssociationState.CONNECTING
        # The task of the TLS handshake, until the connection is made.
        self.connecting: asyncio.Task[None] | None = None
        self._door = door
        self._settings = door.settings
        self._loop = asyncio.get_running_loop()
        self._reader = PduReader(
            self, first_bytes=door.settings.associate_pdu_bytes, most_bytes=door.settings.max_pdu_bytes
        )
        self._pace = Pace(door.settings, self._loop.time)
        # None until the association is accepted.
        self._exchange: Exchange | None = None
        # True from the acceptance of the association to its end.
        self._is_associated = False
        self._log_context = {"address": str(source.address)}
        # Checks the limits; after the last PDU, closes the connection if the peer does not.
        self._timer: asyncio.TimerHandle | None = None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Return the task that answers requests; None while there is none to answer."""
        return self._exchange.requests.task if self._exchange else None

    # Called by admission.

    @property
    def has_begun_data_set(self) -> bool:
        """True if the association has begun to send a data set, or has ended."""
        return self._pace.has_begun_data_set or self.state.is_ended

    def unproductive_s(self) -> float | None:
        """Return for how many seconds less than a fair rate arrived; None while storing or closing."""
        if self._transport.is_closing():
            return None
        unproductive_s = self._pace.unproductive_s()
        return inf if self.state.is_ended and unproductive_s is not None else unproductive_s

    def drop(self) -> None:
        """End the connection so that another can take its place: at once before it is made or after our last PDU."""
        if self.state is AssociationState.CONNECTING and self.connecting is not None:
            self.connecting.cancel()
        elif self.state.is_ended:
            self._transport.abort()
        else:
            self.abort("gave-way")

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to receive; asyncio calls this after the TLS handshake, if there is one."""
        self._transport, self.state = cast("asyncio.Transport", transport), AssociationState.CONNECTED
        self._door.connections.add(self)
        self._timer = self._loop.call_later(self._pace.check_s, self._check_limits)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        del sizehint
        return memoryview(bytearray(DISCARDED_BYTES)) if self.state.is_ended else self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the received bytes."""
        if self.state.is_ended:
            return
        was_between_pdus = self._reader.is_between_pdus
        try:
            self._reader.received(nbytes)
        except Violation as violation:
            self.abort(violation.reason, violation.code)
            return
        self._pace.received(self._reader.completed, was_between_pdus=was_between_pdus)

    def eof_received(self) -> bool:
        """Let asyncio close our side too; close it after `silence_s` even if the peer does not read our answers."""
        self._close_later()
        return False

    def pause_writing(self) -> None:
        """Abort: our answers are small, so they pile up only if the peer does not read them."""
        self.abort("not-reading")

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish now, or when the request that is being answered has ended."""
        del exc
        self.state = AssociationState.CLOSED
        # Reader and connection refer to each other: the buffer would wait for a collection of garbage, which counts objects
        # and not their bytes.
        self._reader.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.messages.close()
        if self.task is None:
            self.finish()

    # Called by the reader of PDUs.

    def associate_requested(self, pdu: bytes) -> None:
        """Answer the association request."""
        peer = self._door.find_peer(pdu, self.source.address, certificate_of(self._transport))
        if isinstance(peer, str):
            self._reject(reject(peer), pdu)
            return
        self._log_context["peer"] = peer.name
        answer = self._door.negotiate(pdu, peer)
        if isinstance(answer, AssociateRejected):
            self._reject(answer, pdu, peer)
            return
        self.calling_ae = answer.calling_ae
        if self._door.admission.add_association(self, peer):
            outcome = report_accepted(pdu, answer, self._door.terms, peer, **self._log_context)
            GATEWAY_ASSOCIATED.labels(outcome).inc()
            self._accept(answer, peer)
        else:
            self._reject(reject("too-many"), pdu, peer)

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Add the next piece of a data value to the message that it belongs to."""
        # The hot path, with few calls: each piece of an instance.
        exchange = self._exchange if self.state is ESTABLISHED else self._receiving()
        if exchange is not None:
            if not control & IS_COMMAND:
                self._pace.data_bytes += len(piece)
            exchange.messages.data_arrived(context_id, control, piece, is_whole=is_whole)

    def release_requested(self) -> None:
        """Queue the release request after the requests that came before it."""
        exchange = self._receiving()
        if exchange is None:
            return
        if not exchange.messages.is_between_messages:
            raise Violation("release-in-message", 2)
        self.state = AssociationState.RELEASING
        exchange.requests.add_release()

    def aborted(self) -> None:
        """Close at once, and discard answers that are not sent yet."""
        GATEWAY_ABORTED.labels("peer").inc()
        self._stop_reading()
        self._transport.abort()

    def _receiving(self) -> Exchange | None:
        """Return the exchange while it may receive; raises Violation after a release request."""
        if self.state is AssociationState.RELEASING:
            raise Violation("unexpected-pdu", 2)
        return self._exchange if self.state is AssociationState.ESTABLISHED else None

    # The association.

    def _accept(self, agreed: AssociateAccepted, peer: Peer) -> None:
        self.state = AssociationState.ESTABLISHED
        self._transport.write(agreed.pdu)
        self._reader.widen()
        self._pace.associated(peer.idle_s)
        settings, intake = self._settings, self._door.intake
        sender = Sender(peer.name, agreed.calling_ae, agreed.called_ae, str(self.source.address))
        transfer = intake.new_transfer(peer.tenant, sender)
        association = Association(agreed, transfer, intake.acceptance)
        requests = Requests(self, association, self._transport, self._pace, settings.unanswered_requests)
        limits = MessageLimits(settings.command_bytes, settings.fragments, settings.fragment_bytes)
        self._exchange = Exchange(MessageAssembler(agreed.contexts, requests.begin, requests.add, limits), requests)
        self._is_associated = True
        GATEWAY_ASSOCIATIONS.inc()

    def _reject(self, answer: AssociateRejected, pdu: bytes, peer: Peer | None = None) -> None:
        GATEWAY_ASSOCIATED.labels(answer.reason).inc()
        report("association_refused", pdu, self._door.terms, peer, reason=answer.reason, **self._log_context)
        self._send_last(answer.pdu)

    def release(self) -> None:
        """Answer the release request, and end the transfer as complete."""
        self._send_last(RELEASE_RP_PDU)
        if self._exchange is not None:
            self._exchange.requests.association.transfer.complete()
        self._end_association()

    def abort(self, reason: str, code: int = 0) -> None:
        """Send an A-ABORT and close, unless the association has already ended."""
        if self.state.is_ended:
            return
        GATEWAY_ABORTED.labels(reason).inc()
        log.warning("association_aborted", reason=reason, **self._log_context)
        self._send_last(abort_pdu(code))
        self.close()

    def _end_association(self) -> None:
        """End the association's transfer, once; as aborted unless it is complete."""
        if self._exchange is None or not self._is_associated:
            return
        self._is_associated = False
        GATEWAY_ASSOCIATIONS.dec()
        transfer = self._exchange.requests.association.transfer
        transfer.abort()
        log.info("association_ended", **transfer.summary, **self._log_context)

    # The end of the connection.

    def refuse(self, reason: str) -> None:
        """End a connection that was never made: admission refused it, or its TLS handshake failed."""
        GATEWAY_TURNED_AWAY.labels(reason).inc()
        log.warning("connection_refused", reason=reason, **self._log_context)
        self.state = AssociationState.CLOSED
        self.finish()

    def stop(self) -> None:
        """End now, or when the request that is being answered has ended."""
        if self.task is None:
            self.abort("shutdown")
        elif not self.state.is_ended:
            self.state = AssociationState.STOPPING

    def close(self) -> None:
        """Close the connection in any state; a second call does nothing, for a closing TLS transport has no socket."""
        if not self._transport.is_closing():
            self._transport.close()

    def finish(self) -> None:
        """Free the connection's place and all that it holds; called once it is closed and none of its requests runs."""
        # The place first, so that an error in what follows does not hold it for ever.
        self._door.connections.discard(self)
        self._door.admission.remove(self)
        if self._exchange is not None:
            self._exchange.requests.close()
        self._end_association()

    def _send_last(self, pdu: bytes) -> None:
        """Send our last PDU; the peer has `silence_s` seconds to read it and to close.

        If we closed first, the peer might lose the PDU (PS3.8 9.2.3).
        """
        self._stop_reading()
        self._transport.write(pdu)
        self._close_later()

    def _stop_reading(self) -> None:
        """Stop parsing and answering. The connection keeps its place in admission until it is closed."""
        self.state = AssociationState.ENDED
        self._reader.stop()

    def _close_later(self) -> None:
        """Close the connection after `silence_s` seconds. This timer replaces the timer that checks the limits."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._settings.silence_s, self._transport.abort)

    # The limits.

    def _check_limits(self) -> None:
        if self.state.is_ended:
            return
        # First, so that a check that fails is not the last one.
        self._timer = self._loop.call_later(self._pace.check_s, self._check_limits)
        self._pace.measure()
        if reason := self._overdue():
            self.abort(reason)

    def _overdue(self) -> str | None:
        """Return the name of the exceeded limit; None while a request is answered, which its service limits."""
        if self.task is not None:
            return None
        if self._exchange is None:
            return "no-associate" if self._pace.is_associate_overdue() else None
        pdu_bytes = None if self._reader.is_between_pdus else self._reader.pdu_bytes
        is_between_messages = self._exchange.messages.is_between_messages
        return self._pace.overdue(pdu_bytes, is_between_messages=is_between_messages)
