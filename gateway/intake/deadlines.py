"""How long the steps of an answer may take: a sender is answered within 15 s of a fault of store or broker.

The look-up of the colder tiers, the PUT without progress (`no_progress_s` of the store's settings) and what follows the
PUT come one after another, so their sum is the limit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from operators.errors import Unavailable

# For the look-up of an instance in the colder tiers, before the PUT.
LOOKUP_S = 1.0
# For learning the store's time, which only the first instances of a process wait for, from a store that answers.
CLOCK_S = 3.0
# For all that follows a PUT, which asks store and broker.
ANNOUNCE_S = 9.0


@asynccontextmanager
async def within(limit_s: float) -> AsyncIterator[asyncio.Timeout]:
    """Run the block; raises Unavailable("slow") when it takes longer than `limit_s` seconds."""
    try:
        async with asyncio.timeout(limit_s) as limit:
            yield limit
    except TimeoutError as error:
        raise Unavailable("slow") from error


@asynccontextmanager
async def paused(limit: asyncio.Timeout) -> AsyncIterator[None]:
    """Run the block without this limit: what takes as long as its bytes need, and has a limit of its own."""
    loop, when = asyncio.get_running_loop(), limit.when()
    if when is None:
        yield
        return
    left_s = when - loop.time()
    limit.reschedule(None)
    yield
    limit.reschedule(loop.time() + left_s)
