"""A request's body as it comes: it must keep coming, and may not be more than a request may have."""

import asyncio
import math
from collections.abc import Callable

from starlette.types import Message, Receive

from operators.errors import Rejected
from operators.http.problem import Problem
from schemas.settings.web import StowSettings


class ClientGone(Exception):
    """The client went away."""


def too_slow() -> Problem:
    """Return the answer to a body that does not come."""
    return Problem(408, "too-slow", "send without pauses: too little has come for too long")


class RequestBody:
    """The chunks of one body."""

    def __init__(self, receive: Receive, settings: StowSettings, length: int | None) -> None:
        self._receive = receive
        self._settings = settings
        self._length = length
        self._size_bytes = 0
        self._is_over = False
        # What is left of the time in which the next pace_bytes must come; it runs only while we wait for them.
        self._pace_bytes = settings.silence_s * settings.slowest_bytes_per_s
        self._left_s, self._owed_bytes = settings.silence_s, self._pace_bytes
        self._waited_s, self._came_bytes = 0.0, 0
        self._waiting: asyncio.Timeout | None = None
        # Made when it is raised: kept here it would keep its frames, and what granian waits for to be let go.
        self._late = too_slow
        # How fast it came when it was last looked at: after so long of waiting for it.
        self.bytes_per_s = math.inf

    async def chunk(self) -> bytes:
        """Return the next bytes, empty at the end. Raises ClientGone; Problem for what is too slow or too much; Rejected."""
        while not self._is_over:
            message = await self._next()
            if message["type"] != "http.request":
                raise ClientGone
            self._is_over = not message.get("more_body", False)
            if body := message.get("body", b""):
                return self._counted(body)
        if self._length not in (None, self._size_bytes):
            raise Rejected("content-length")
        return b""

    def break_off(self, answer: Callable[[], Problem]) -> None:
        """Wait for nothing more: whoever waits for the next bytes, or does so later, is told this."""
        self._late, self._left_s, self._owed_bytes = answer, 0.0, math.inf
        self.bytes_per_s, self._waited_s = math.inf, -math.inf
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(self._left_s) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            raise self._late() from None
        finally:
            self._waiting = None
        self._note(loop.time() - began_at)
        if self._left_s <= 0:
            raise self._late()
        return message

    def _note(self, waited_s: float) -> None:
        self._left_s -= waited_s
        self._waited_s += waited_s
        if self._waited_s >= self._settings.yield_s:
            self.bytes_per_s = self._came_bytes / self._waited_s
            self._waited_s, self._came_bytes = 0.0, 0

    def _counted(self, body: bytes) -> bytes:
        self._came_bytes += len(body)
        self._size_bytes += len(body)
        self._owed_bytes -= len(body)
        if self._owed_bytes <= 0:
            self._left_s, self._owed_bytes = self._settings.silence_s, self._pace_bytes
        if self._size_bytes > self._settings.request_bytes:
            raise Problem(413, "request-bytes", f"send at most {self._settings.request_bytes} bytes in one request")
        return body
