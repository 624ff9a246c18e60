"""The readiness of a process: whether the servers that it needs answer, and its background work goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from operators.errors import Unavailable

CHECK_S = 3.0
READY = "ready"

# Returns when a server answers; raises Unavailable when it does not.
Check = Callable[[], Awaitable[None]]

log = structlog.get_logger()


async def readiness(checks: Mapping[str, Check], failing: Iterable[str] = ()) -> dict[str, str]:
    """Return the state of each server by name, "ready" or "away", and of each background task that is "failing"."""
    states = await asyncio.gather(*(_state(name, check) for name, check in checks.items()))
    return dict(zip(checks, states, strict=True)) | dict.fromkeys(failing, "failing")


def is_ready(states: Mapping[str, str]) -> bool:
    """True if every state is "ready"."""
    return set(states.values()) <= {READY}


async def _state(name: str, check: Check) -> str:
    try:
        await asyncio.wait_for(check(), CHECK_S)
    except (Unavailable, TimeoutError):
        return "away"
    except Exception:
        log.exception("check_failed", server=name)
        return "away"
    return READY
