"""The pace of work in the background: the process takes at most a share of a core, by its own CPU time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

# A shorter pause costs more than it gives.
LEAST_PAUSE_S = 0.05
# CPU time that was left unused longer ago is not made up for: a store that was slow for an hour is no reason to hurry.
REMEMBERED_S = 1.0


class CpuPace:
    """The pauses of one process, from now on; a share of 1 makes none.

    `cpu` and `clock` are in seconds: the CPU time of the process, all its threads together, and a clock that nobody sets.
    """

    def __init__(
        self,
        share: float,
        cpu: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._share = share
        self._cpu = cpu
        self._clock = clock
        self._sleep = sleep
        # Work may go on at the moment `free_at`, if no more CPU time was used since `counted`.
        self._free_at = clock()
        self._counted = cpu()

    async def keep(self) -> None:
        """Return when the share allows more work; called after each piece of it, which may be small."""
        used, now = self._cpu(), self._clock()
        self._free_at = max(self._free_at, now - REMEMBERED_S) + (used - self._counted) / self._share
        self._counted = used
        if self._share < 1 and self._free_at - now > LEAST_PAUSE_S:
            await self._sleep(self._free_at - now)

    async def paced(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield chunks at this pace."""
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
                await self.keep()
