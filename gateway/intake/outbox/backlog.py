"""Work that failed or was left over, item by item, which is attempted again until all of it is done."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from operators.errors import Unavailable

# How many items are attempted at the same time, and how many of them that meet a server that is unavailable, with none
# in between that does not, end a round: during an outage a round costs the same for eight items and for 100,000.
AT_ONCE = 8

T = TypeVar("T", bound=Hashable)

# attempt(item) -> True if the item is done; False if it must be attempted again later.
Attempt = Callable[[T], Awaitable[bool]]


class Backlog(Generic[T]):
    """Items in the order in which they are attempted.

    Items that were added since the last round and all others take turns: neither waits for all of the others. An item
    that raises anything but Unavailable is stuck: that is an error of the program, which must not hold up other items.
    It is reported once, by `report(item, error)`, and attempted again, at most AT_ONCE such items a round.
    """

    def __init__(self, report: Callable[[T, Exception], None]) -> None:
        self._report = report
        self._new: deque[T] = deque()
        self._waiting: deque[T] = deque()
        # Those that were attempted in this round, and are attempted again in the next one.
        self._attempted: deque[T] = deque()
        self._stuck: deque[T] = deque()
        self._reported: set[T] = set()
        self._is_new_next = True
        self._failures_in_a_row = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._waiting) + len(self._attempted) + len(self._stuck)

    def add(self, item: T) -> None:
        """Add a new item."""
        self._new.append(item)

    async def attempt_all(self, attempt: Attempt[T]) -> bool:
        """Attempt every item once, unless a server turns out to be unavailable; True when no item is left.

        Items that are added meanwhile are attempted too. One round at a time.
        """
        self._failures_in_a_row = 0
        for _ in range(min(AT_ONCE, len(self._stuck))):
            self._waiting.append(self._stuck.popleft())
        try:
            await asyncio.gather(*(self._work(attempt) for _ in range(AT_ONCE)))
        finally:
            for items in (self._new, self._attempted):
                self._waiting.extend(items)
                items.clear()
        return not len(self)

    async def _work(self, attempt: Attempt[T]) -> None:
        while self._failures_in_a_row < AT_ONCE and (self._new or self._waiting):
            await self._try(attempt, self._next())
            # The event loop has a turn between two items even if no server had to be waited for.
            await asyncio.sleep(0)

    def _next(self) -> T:
        first, second = (self._new, self._waiting) if self._is_new_next else (self._waiting, self._new)
        self._is_new_next = not self._is_new_next
        return (first or second).popleft()

    async def _try(self, attempt: Attempt[T], item: T) -> None:
        left_in: deque[T] | None = self._attempted
        try:
            if await attempt(item):
                left_in = None
                self._reported.discard(item)
            self._failures_in_a_row = 0
        except Unavailable:
            self._failures_in_a_row += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this item alone
            left_in = self._stuck
            self._report_once(item, error)
        finally:
            # An attempt that was cancelled leaves its item for the next round, too.
            if left_in is not None:
                left_in.append(item)

    def _report_once(self, item: T, error: Exception) -> None:
        if item not in self._reported:
            self._reported.add(item)
            self._report(item, error)
