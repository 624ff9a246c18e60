"""The readiness of a process: whether the servers that it needs answer, and its background work goes on."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from operators.errors import Unavailable

CHECK_S = 3.0
# How long an answer of the servers is used again: anyone may ask, and a check costs milliseconds and connections.
FRESH_S = 1.0
READY = "ready"
AWAY = "away"

# Returns when a server answers; raises Unavailable when it does not.
Check = Callable[[], Awaitable[None]]

log = structlog.get_logger()


class Readiness:
    """The state of each server by name, and of the background work that `failing` names."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        failing: Callable[[], Iterable[str]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._failing = failing
        self._clock = clock
        self._servers: dict[str, str] = {}
        self._checked_at = -math.inf
        self._checking = asyncio.Lock()

    async def states(self) -> dict[str, str]:
        """Return "ready" or "away" for each server, as of FRESH_S ago at most, and "failing" for each piece of failing work."""
        async with self._checking:
            if self._clock() - self._checked_at >= FRESH_S:
                found = await asyncio.gather(*(self._state(name, check) for name, check in self._checks.items()))
                self._servers = dict(zip(self._checks, found, strict=True))
                self._checked_at = self._clock()
        return self._servers | dict.fromkeys(self._failing(), "failing")

    async def _state(self, name: str, check: Check) -> str:
        try:
            await asyncio.wait_for(check(), CHECK_S)
        except (Unavailable, TimeoutError) as error:
            if self._servers.get(name) != AWAY:
                why = getattr(error, "why", "") or f"no answer within {CHECK_S:.0f} s"
                log.warning("server_away", server=name, why=why)
            return AWAY
        except Exception:
            log.exception("check_failed", server=name)
            return AWAY
        return READY


def is_ready(states: Mapping[str, str]) -> bool:
    """True if every state is "ready"."""
    return set(states.values()) <= {READY}
