"""The body of a store request while it arrives: it must not pause for too long, nor grow too large."""

import asyncio
import math
from collections.abc import Callable

from starlette.types import Message, Receive

from operators.errors import Rejected
from operators.http.problem import Problem
from schemas.settings.web import StowSettings


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


def too_slow() -> Problem:
    """Return the answer to a body that arrives too slowly."""
    return Problem(408, "too-slow", "send without pauses: too little arrived for too long")


class RequestBody:
    """The chunks of one body, and the pace at which they arrive; only the time spent in waiting for them counts."""

    def __init__(self, receive: Receive, settings: StowSettings, length: int | None) -> None:
        self._receive = receive
        self._settings = settings
        self._length = length
        self._size_bytes = 0
        self._is_over = False
        # The time left for the next pace_bytes to arrive, and how many of these bytes are missing.
        self._pace_bytes = settings.silence_s * settings.slowest_bytes_per_s
        self._left_s, self._missing_bytes = settings.silence_s, self._pace_bytes
        self._waited_s, self._arrived_bytes = 0.0, 0
        self._waiting: asyncio.Timeout | None = None
        # A function and not an exception: a kept exception keeps its frames, and with them objects that granian waits for.
        self._timeout_answer = too_slow
        # The pace over the last yield_s of waiting; infinite until then.
        self.bytes_per_s = math.inf

    async def chunk(self) -> bytes:
        """Return the next bytes, empty at the end.

        Raises ClientGone, Problem for a body that is too slow or too large or was broken off, Rejected for a body
        that is not as long as its Content-Length.
        """
        while not self._is_over:
            message = await self._next()
            if message["type"] != "http.request":
                raise ClientGone
            self._is_over = not message.get("more_body", False)
            if body := message.get("body", b""):
                return self._count(body)
        if self._length not in (None, self._size_bytes):
            raise Rejected("content-length")
        return b""

    def break_off(self, answer: Callable[[], Problem]) -> None:
        """Stop waiting for bytes: the running call of `chunk`, or else the next call, raises what `answer` returns."""
        self._timeout_answer, self._left_s, self._missing_bytes = answer, 0.0, math.inf
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
            raise self._timeout_answer() from None
        finally:
            self._waiting = None
        self._measure(loop.time() - began_at)
        if self._left_s <= 0:
            raise self._timeout_answer()
        return message

    def _measure(self, waited_s: float) -> None:
        self._left_s -= waited_s
        self._waited_s += waited_s
        if self._waited_s >= self._settings.yield_s:
            self.bytes_per_s = self._arrived_bytes / self._waited_s
            self._waited_s, self._arrived_bytes = 0.0, 0

    def _count(self, body: bytes) -> bytes:
        self._arrived_bytes += len(body)
        self._size_bytes += len(body)
        self._missing_bytes -= len(body)
        if self._missing_bytes <= 0:
            self._left_s, self._missing_bytes = self._settings.silence_s, self._pace_bytes
        if self._size_bytes > self._settings.request_bytes:
            raise Problem(413, "request-bytes", f"send at most {self._settings.request_bytes} bytes in one request")
        return body
