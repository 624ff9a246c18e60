"""A task that ends by an exception is logged and counted; background work is started again and is failing meanwhile."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from operators.tasks import (
    LEAST_WAIT_S,
    MOST_WAIT_S,
    STEADY_S,
    Background,
    EndedEarly,
    report_unhandled,
    supervised,
)


def counted(task: str) -> float:
    return REGISTRY.get_sample_value("fluoro_task_failed_total", {"task": task}) or 0.0


def failures_of(test: Callable[[], Coroutine[Any, Any, None]]) -> list[tuple[str, str]]:
    """Run a test, and return the task and the kind of exception of each failure that was logged."""
    with capture_logs() as logs:
        asyncio.run(test())
    return [(entry["task"], type(entry["exc_info"]).__name__) for entry in logs if entry["event"] == "task_failed"]


async def fail() -> None:
    await asyncio.sleep(0)
    raise RuntimeError


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_task_that_fails_is_logged_and_counted_under_its_name() -> None:
    before = counted("failing")

    async def test() -> None:
        supervised("failing", fail())
        await turns()

    assert failures_of(test) == [("failing", "RuntimeError")]
    assert counted("failing") == before + 1


def test_a_task_that_is_cancelled_or_succeeds_is_not_logged() -> None:
    async def test() -> None:
        supervised("cancelled", asyncio.sleep(10)).cancel()
        await supervised("succeeding", turns())

    assert failures_of(test) == []


def test_an_awaited_task_s_exception_is_its_caller_s() -> None:
    async def test() -> None:
        with pytest.raises(RuntimeError):
            await supervised("awaited", fail(), is_awaited=True)

    assert failures_of(test) == []


def test_a_group_raises_the_exceptions_of_its_tasks() -> None:
    async def test() -> None:
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                supervised("member", fail(), group)

    assert failures_of(test) == []


def test_an_awaited_task_whose_caller_went_is_logged_by_the_loop_s_handler() -> None:
    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(report_unhandled)
        supervised("forsaken", fail(), is_awaited=True)
        await turns()
        gc.collect()

    assert failures_of(test) == [("forsaken", "RuntimeError")]


def test_a_callback_that_fails_is_logged_without_its_arguments() -> None:
    def callback(_: str) -> None:
        raise RuntimeError

    async def test() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(report_unhandled)
        loop.call_soon(callback, "CANARY")
        await turns()

    with capture_logs() as logs:
        asyncio.run(test())

    assert [(entry["event"], entry["task"]) for entry in logs] == [("task_failed", "callback")]
    assert "CANARY" not in str(logs)


class Clock:
    """A clock that moves only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def time(self) -> float:
        return self.now


def test_background_work_that_fails_is_started_again_with_back_off() -> None:
    clock = Clock()
    calls: list[float] = []

    async def work() -> None:
        calls.append(clock.now)
        raise RuntimeError

    async def test() -> None:
        async with Background(clock.sleep, clock.time).running({"work": work}):
            await turns(20)

    failures = failures_of(test)

    assert len(failures) == len(calls) > 5
    assert clock.slept[:3] == [LEAST_WAIT_S, 2 * LEAST_WAIT_S, 4 * LEAST_WAIT_S]
    assert max(clock.slept) == MOST_WAIT_S


def test_work_is_failing_until_it_has_run_for_a_while_again() -> None:
    clock = Clock()
    failing: list[tuple[str, ...]] = []
    is_broken = True

    async def work() -> None:
        if is_broken:
            raise RuntimeError
        await asyncio.Event().wait()

    async def test() -> None:
        nonlocal is_broken
        background = Background(clock.sleep, clock.time)
        async with background.running({"steady": asyncio.Event().wait, "broken": work}):
            await turns()
            failing.append(background.failing())
            is_broken = False
            await turns()
            failing.append(background.failing())
            clock.now += STEADY_S
            failing.append(background.failing())

    failures_of(test)

    assert failing == [("broken",), ("broken",), ()]


def test_work_that_had_run_for_a_while_is_started_again_soon() -> None:
    clock = Clock()

    async def work() -> None:
        clock.now += STEADY_S
        raise RuntimeError

    async def test() -> None:
        async with Background(clock.sleep, clock.time).running({"work": work}):
            await turns(20)

    failures_of(test)

    assert set(clock.slept) == {LEAST_WAIT_S}


async def return_early() -> None:
    """End without an exception."""


async def cancelled_inside() -> None:
    """End because something that is awaited was cancelled."""
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


@pytest.mark.parametrize(
    ("work", "kind"), [(return_early, EndedEarly.__name__), (cancelled_inside, asyncio.CancelledError.__name__)]
)
def test_work_that_ends_in_silence_has_failed(work: Callable[[], Coroutine[Any, Any, None]], kind: str) -> None:
    clock = Clock()

    async def test() -> None:
        async with Background(clock.sleep, clock.time).running({"silent": work}):
            await turns(2)

    assert set(failures_of(test)) == {("silent", kind)}


def test_leaving_the_block_stops_the_work() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def test() -> None:
        background = Background()
        async with background.running({"work": work}):
            await turns()
        assert ended == ["ended"]
        assert background.failing() == ()

    assert failures_of(test) == []
