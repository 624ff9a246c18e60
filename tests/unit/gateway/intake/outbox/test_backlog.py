"""A backlog attempts each item until it is done; no item, no outage and no error of the program holds up the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from gateway.intake.outbox.backlog import AT_ONCE, Backlog
from operators.errors import Unavailable


def ignored(item: int, error: Exception) -> None:
    """Ignore what is reported."""


def backlog_of(items: Iterable[int], report: Callable[[int, Exception], None] = ignored) -> Backlog[int]:
    backlog = Backlog(report)
    for item in items:
        backlog.add(item)
    return backlog


class Server:
    """What attempts need: it counts them, and fails for some items."""

    def __init__(self, failing: Iterable[int] = (), error: Exception | None = None) -> None:
        self.failing = set(failing)
        self.error = error or Unavailable("broker")
        self.attempts: list[int] = []

    async def attempt(self, item: int) -> bool:
        self.attempts.append(item)
        await asyncio.sleep(0)
        if item in self.failing:
            raise self.error
        return True


def rounds(backlog: Backlog[int], attempt: Callable[[int], Awaitable[bool]], count: int = 1) -> list[bool]:
    async def run() -> list[bool]:
        return [await backlog.attempt_all(attempt) for _ in range(count)]

    return asyncio.run(run())


def test_every_item_is_attempted_once_in_order() -> None:
    backlog, server = backlog_of(range(100)), Server()

    assert rounds(backlog, server.attempt) == [True]
    assert server.attempts == list(range(100))


@pytest.mark.parametrize("items", [8, 10_000])
def test_a_round_during_an_outage_costs_the_same_for_any_number_of_items(items: int) -> None:
    server = Server(range(items))
    backlog = backlog_of(range(items))

    assert rounds(backlog, server.attempt) == [False]
    assert len(server.attempts) < 2 * AT_ONCE
    assert len(backlog) == items


def test_rounds_during_an_outage_reach_every_item_so_that_none_hides_the_others() -> None:
    server = Server(range(100))

    rounds(backlog_of(range(100)), server.attempt, 12)

    assert server.attempts == list(range(96))


def test_at_most_so_many_items_are_attempted_at_once() -> None:
    running, most = 0, 0

    async def attempt(_: int) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return True

    rounds(backlog_of(range(50)), attempt)

    assert most == AT_ONCE


def test_items_that_fail_between_good_ones_do_not_end_a_round() -> None:
    failing = set(range(0, 100, 3))
    server = Server(failing)
    backlog = backlog_of(range(100))

    assert rounds(backlog, server.attempt) == [False]
    assert sorted(server.attempts) == list(range(100))
    assert len(backlog) == len(failing)


def test_an_item_that_is_not_done_is_attempted_once_a_round() -> None:
    attempts: list[int] = []

    async def not_yet(item: int) -> bool:
        attempts.append(item)
        return False

    rounds(backlog_of(range(20)), not_yet, 2)

    assert attempts == [*range(20), *range(20)]


def test_a_new_item_does_not_wait_for_all_that_were_attempted_before() -> None:
    server = Server(range(AT_ONCE))
    backlog = backlog_of(range(1000))
    rounds(backlog, server.attempt)
    server.failing.clear()

    async def with_news(item: int) -> bool:
        if not server.attempts[AT_ONCE:]:
            backlog.add(-1)
        return await server.attempt(item)

    rounds(backlog, with_news)

    assert server.attempts.index(-1) < 3 * AT_ONCE


def test_an_item_that_makes_the_program_fail_is_reported_once_and_holds_up_no_other() -> None:
    reported: list[tuple[int, str]] = []
    server = Server(range(50), ValueError("odd"))
    backlog = backlog_of(range(200), lambda item, error: reported.append((item, type(error).__name__)))

    assert rounds(backlog, server.attempt, 20) == [False] * 20

    assert reported == [(item, "ValueError") for item in range(50)]
    assert len(backlog) == 50
    assert len(server.attempts) == 200 + 19 * AT_ONCE
    server.failing.clear()
    assert rounds(backlog, server.attempt, 7)[-1]


def test_an_attempt_that_is_cancelled_leaves_its_item() -> None:
    backlog = backlog_of(range(20))

    async def cancelled() -> None:
        begun = asyncio.Event()

        async def for_ever(_: int) -> bool:
            begun.set()
            await asyncio.Event().wait()
            return True

        task = asyncio.ensure_future(backlog.attempt_all(for_ever))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancelled())
    server = Server()

    assert len(backlog) == 20
    assert rounds(backlog, server.attempt) == [True]
    assert sorted(server.attempts) == list(range(20))
