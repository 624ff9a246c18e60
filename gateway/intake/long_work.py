"""Long work in the event loop: it is done in pieces, one such work at a time, and others are served in between."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from time import thread_time
from typing import TypeVar

from operators.pieces import Pieces

R = TypeVar("R")

# How long others have the event loop after each piece, as a multiple of what the piece took. With 1, others' p50 rose
# from 9 to 17 ms while one peer repeated the largest header; with 2 from 8 to 11, and that header took as long.
REST = 2.0


class LongWork:
    """All long work of one process. Whatever its senders do, it takes about a third of the event loop's time at most."""

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = thread_time,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._gate = asyncio.Lock()

    async def run(self, work: Pieces[R]) -> R:
        """Return the result of the work: at once if it is a single piece, else after the long work that began before it.

        Raises what the work raises. The work is closed when the caller is cancelled.
        """
        try:
            next(work)
        except StopIteration as stop:
            result: R = stop.value
            return result
        with closing(work):
            async with self._gate:
                return await self._in_pieces(work)

    async def _in_pieces(self, work: Pieces[R]) -> R:
        took_s = 0.0
        while True:
            await self._sleep(REST * took_s)
            began_s = self._clock()
            try:
                next(work)
            except StopIteration as stop:
                result: R = stop.value
                return result
            took_s = self._clock() - began_s
