"""Work that runs ahead: many pieces at a time, their results in order."""

from asyncio import Task, gather
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from operators.tasks import supervised

T = TypeVar("T")
R = TypeVar("R")


class _Queue(Generic[R]):
    """Pieces of work that are running, the oldest first."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self.running: deque[Task[R]] = deque()

    @property
    def is_full(self) -> bool:
        """True if no more work may be added before some is taken."""
        return len(self.running) >= self._at_once

    def add(self, work: Coroutine[Any, Any, R]) -> None:
        """Start a piece of work."""
        self.running.append(supervised("batch_work", work, is_awaited=True))

    async def take(self) -> R:
        """Return the result of the oldest piece of work, or raise its exception."""
        return await self.running.popleft()

    async def drop(self) -> None:
        """End all work that is running, and ignore its results."""
        for task in self.running:
            task.cancel()
        await gather(*self.running, return_exceptions=True)
        self.running.clear()


@asynccontextmanager
async def results_in_order(
    items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, R]], at_once: int
) -> AsyncIterator[AsyncIterator[R]]:
    """Open the results of `work` for all items, in order; so many items are worked on at a time.

    An exception of some work is raised in its place; leaving the block ends all work that is running.
    """
    queue: _Queue[R] = _Queue(at_once)

    async def results() -> AsyncIterator[R]:
        async for item in items:
            if queue.is_full:
                yield await queue.take()
            queue.add(work(item))
        while queue.running:
            yield await queue.take()

    try:
        yield results()
    finally:
        await queue.drop()
