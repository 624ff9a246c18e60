"""Tasks that cannot end without anybody knowing: every task of the archive is made here, under a name.

A task that fails is logged as `task_failed`, with the exception's type and place but not its text, and counted in
`fluoro_task_failed_total{task}`. Work that a process cannot do without is started again, and the process is not ready
meanwhile.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from schemas.telemetry import TASK_FAILED

LEAST_WAIT_S = 0.5
MOST_WAIT_S = 10.0
# Background work that was started again is trusted once it has run for so many seconds.
STEADY_S = 30.0
# Tells our tasks from those of libraries, whose names are numbers.
PREFIX = "fluoro."

T = TypeVar("T")

# Background work: a function that works until it is cancelled. It may be called again after it has failed.
Work = Callable[[], Awaitable[object]]

log = structlog.get_logger()


class EndedEarly(RuntimeError):
    """Background work returned, although it should have gone on until it was cancelled."""


def supervised(
    name: str, work: Coroutine[Any, Any, T], group: asyncio.TaskGroup | None = None, *, is_awaited: bool = False
) -> "asyncio.Task[T]":
    """Start a task under a name, which must not depend on data; an exception that ends it is logged and counted.

    A task of a group raises its exception there. `is_awaited` says that some caller awaits the task and answers its
    exception; if that caller is cancelled, the loop's handler (`report_unhandled`) gets the exception.
    """
    task = (group or asyncio.get_running_loop()).create_task(work, name=PREFIX + name)
    if group is None and not is_awaited:
        task.add_done_callback(_report_failure)
    return task


def report_unhandled(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log and count what an event loop found unhandled: of a callback, a connection, or a task that nobody awaited.

    The loop's own message is left out, because it quotes the arguments of callbacks. It is an exception handler for
    `loop.set_exception_handler`.
    """
    task = context.get("task") or context.get("future")
    _report(_name_of(task) if isinstance(task, asyncio.Task) else "callback", context.get("exception"))


class Background:
    """The background work of one process. A piece of work that fails is started again with back-off.

    A failed piece counts as failing until it has run for STEADY_S again. The process is not ready while any is failing.
    """

    def __init__(
        self,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        # When each piece of work that has failed was last started again; infinity while it waits to be.
        self._restarted_at: dict[str, float] = {}

    def failing(self) -> tuple[str, ...]:
        """Return the names of the pieces of work that have failed and are not trusted again yet."""
        now = self._clock()
        return tuple(name for name, at in self._restarted_at.items() if now - at < STEADY_S)

    @contextlib.asynccontextmanager
    async def running(self, works: Mapping[str, Work]) -> AsyncIterator[None]:
        """Keep pieces of work running during the block, each under its name."""
        tasks = [supervised(name, self._keep(name, work)) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for name in works:
                self._restarted_at.pop(name, None)

    async def _keep(self, name: str, work: Work) -> None:
        wait_s = LEAST_WAIT_S
        while True:
            began_at = self._clock()
            _report(name, await _failure_of(work))
            self._restarted_at[name] = math.inf
            wait_s = LEAST_WAIT_S if self._clock() - began_at >= STEADY_S else wait_s
            await self._sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)
            self._restarted_at[name] = self._clock()


async def _failure_of(work: Work) -> BaseException:
    """Return what ended background work. A cancellation that nobody asked this task for is a failure like any other."""
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be known, and the work must go on
        return error
    return EndedEarly()


def _report_failure(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()):
        _report(_name_of(task), error)


def _name_of(task: "asyncio.Task[Any]") -> str:
    return task.get_name().removeprefix(PREFIX) if task.get_name().startswith(PREFIX) else "library"


def _report(name: str, error: BaseException | None) -> None:
    TASK_FAILED.labels(name).inc()
    log.error("task_failed", task=name, exc_info=error)
