"""The requests of one association, in a queue that a single task answers in order."""

import asyncio
from collections import deque
from typing import Protocol

from gateway.dimse.pace import Pace
from gateway.dimse.services.service import Association, Request
from gateway.dimse.services.table import begin
from gateway.dimse.state import AssociationState
from operators.dimse.commands import Command
from operators.dimse.pdu import Violation, data_pdus
from operators.tasks import supervised


class RequestOwner(Protocol):
    """The connection that the requests came over.

    `release` is called when every request before the release request is answered, `finish` when the connection is
    closed and no request is being answered any more. `abort` may be called in any state.
    """

    @property
    def state(self) -> AssociationState:
        """Return how far the association has come."""

    def release(self) -> None:
        """Answer the release request."""

    def abort(self, reason: str) -> None:
        """Send an A-ABORT and close."""

    def finish(self) -> None:
        """Free everything that the association holds."""


class Requests:
    """The queue of one association's requests, and the task that answers them.

    While one request is answered, the next is received; after that nothing is read until the queue is empty.
    """

    def __init__(
        self, owner: RequestOwner, association: Association, transport: asyncio.Transport, pace: Pace, most: int
    ) -> None:
        self.association = association
        # The task that answers requests; None while there is none to answer.
        self.task: asyncio.Task[None] | None = None
        self._owner = owner
        self._transport = transport
        self._pace = pace
        self._most = most
        # None stands for the release request.
        self._waiting: deque[Request | None] = deque()
        self._is_paused = False

    def begin(self, command: Command, context_id: int) -> Request:
        """Return the request that a command set begins; raises Violation if it may not come in this context."""
        request = begin(self.association, command, context_id)
        if request.body is not None:
            self._pace.has_begun_data_set = True
        return request

    def add(self, request: Request) -> None:
        """Queue a complete request; raises Violation if more than `most` wait."""
        if request.body is not None:
            self._pace.data_set_received()
        self._waiting.append(request)
        if len(self._waiting) > self._most:
            # One buffer has room for 3,000 echoes, and no other peer is served while they are parsed.
            raise Violation("too-many-unanswered")
        self._proceed()

    def add_release(self) -> None:
        """Queue the release request, which is answered after all others."""
        self._waiting.append(None)
        self._proceed()

    def close(self) -> None:
        """Free everything that the waiting requests hold: none of them will be answered."""
        for request in self._waiting:
            if request is not None:
                request.close()
        self._waiting.clear()

    def _proceed(self) -> None:
        if self.task is None:
            self._start()
        elif not self._is_paused:
            # The next instance may arrive while one is stored; a third must wait in the socket.
            self._is_paused = True
            self._transport.pause_reading()

    def _start(self) -> None:
        self.task = supervised("association", self._answer_all())
        self.task.add_done_callback(self._done)

    async def _answer_all(self) -> None:
        while self._waiting and not self._owner.state.is_ended:
            request = self._waiting.popleft()
            if request is None:
                self._owner.release()
            else:
                await self._answer(request)
            if self._waiting:
                # 3,000 echoes fit into one buffer: other peers get a turn between two answers.
                await asyncio.sleep(0)
            self._resume_reading()
            if self._owner.state is AssociationState.STOPPING:
                self._owner.abort("shutdown")

    async def _answer(self, request: Request) -> None:
        if request.body is None:
            await request.answer(self._respond)
            return
        self._pace.store_began()
        try:
            await request.answer(self._respond)
        finally:
            self._pace.store_ended()

    def _respond(self, context_id: int, command_set: bytes, data_set: bytes = b"") -> None:
        if self._owner.state.is_ended:
            return
        most_bytes = self.association.agreed.peer_pdu_bytes
        self._transport.write(data_pdus(context_id, command_set, most_bytes))
        if data_set:
            self._transport.write(data_pdus(context_id, data_set, most_bytes, 0))
        self._pace.peers_turn_began()

    def _resume_reading(self) -> None:
        """Read again once the queue is empty; also after a release, to notice the connection's end."""
        if self._is_paused and not self._waiting and not self._transport.is_closing():
            self._is_paused = False
            self._pace.peers_turn_began()
            self._transport.resume_reading()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.task = None
        if not task.cancelled() and task.exception():
            self._owner.abort("internal")
        if self._owner.state is AssociationState.CLOSED:
            self._owner.finish()
        elif self._waiting and self._owner.state < AssociationState.STOPPING:
            # A request arrived after the task last looked into the queue and before this callback.
            self._start()
