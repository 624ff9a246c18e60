"""Inspections that take longer than a sender waits: one after another in the background, their results remembered.

The sender of such a repeat is told to try again, and the next repeat finds the result.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gateway.intake.tiers import TieredObject
from operators.errors import Unavailable
from schemas.objects import Bucket, Envelope

# For one inspection: 4 GiB at 7 MB/s.
INSPECTION_S = 600.0
MOST_WAITING = 64
MOST_REMEMBERED = 1024
# Longer than a day: a sender may repeat once a night, and would be told to try again for ever.
REMEMBERED_S = 25 * 3600.0

# inspect(found, envelope) -> why the object is damaged, or ""; see Inspector.
Inspect = Callable[[TieredObject, Envelope], Awaitable[str]]
Version = tuple[Bucket, str, str]

log = structlog.get_logger()


@dataclass(frozen=True)
class Verdict:
    """The result of an inspection, and when it ended, by the clock of this process."""

    reason: str
    ended_s: float


class BackgroundInspections:
    """The inspections that wait, and the results of those that have ended; of one process, and lost with it."""

    def __init__(self, inspect: Inspect, clock: Callable[[], float]) -> None:
        self._inspect = inspect
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[TieredObject, Envelope]] = asyncio.Queue(MOST_WAITING)
        self._begun: set[Version] = set()
        self._verdicts: dict[Version, Verdict] = {}

    def verdict(self, found: TieredObject) -> str | None:
        """Return the result for this version of an object: why it is damaged, or ""; None if there is no result."""
        known = self._verdicts.get(_version(found))
        if known is None or self._clock() - known.ended_s > REMEMBERED_S:
            return None
        return known.reason

    def begin(self, found: TieredObject, envelope: Envelope) -> None:
        """Have an object inspected, unless it waits already or too many do: its sender will repeat it."""
        version = _version(found)
        if version not in self._begun and not self._waiting.full():
            self._begun.add(version)
            self._waiting.put_nowait((found, envelope))

    def forget(self, found: TieredObject) -> None:
        """Forget the result for a version that is replaced: the tag of its replacement may be the same."""
        self._verdicts.pop(_version(found), None)

    async def run(self) -> None:
        """Inspect what waits until cancelled; an inspection that fails is logged, and begins with the next repeat."""
        while True:
            found, envelope = await self._waiting.get()
            try:
                async with asyncio.timeout(INSPECTION_S):
                    self._remember(found, await self._inspect(found, envelope))
            except (Unavailable, TimeoutError) as error:
                log.warning("inspection_unavailable", key=found.key, error=str(error) or "slow")
            except Exception:
                log.exception("inspection_failed", key=found.key)
            finally:
                self._begun.discard(_version(found))

    def _remember(self, found: TieredObject, reason: str) -> None:
        self.forget(found)
        self._verdicts[_version(found)] = Verdict(reason, self._clock())
        while len(self._verdicts) > MOST_REMEMBERED:
            self._verdicts.pop(next(iter(self._verdicts)))


def _version(found: TieredObject) -> Version:
    return found.bucket, found.key, found.etag
