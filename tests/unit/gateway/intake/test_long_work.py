"""Short work is done at once; long work is done one at a time, with a rest for others after each of its pieces."""

import asyncio

import pytest

from gateway.intake.long_work import LongWork
from operators.errors import Rejected
from operators.pieces import Pieces

PIECE_S = 0.5


class Steps:
    """Works that write down their pieces, and a sleep that writes down the rests between them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.closed: list[str] = []
        self.rests_s: list[float] = []
        self.now_s = 0.0
        self.long_work = LongWork(self.sleep, lambda: self.now_s)

    async def sleep(self, seconds: float) -> None:
        self.rests_s.append(seconds)
        self.done.append("rest")
        await asyncio.sleep(0)

    def work(self, name: str, pieces: int, reason: str = "") -> Pieces[str]:
        try:
            for _ in range(pieces - 1):
                self.done.append(name)
                self.now_s += PIECE_S
                yield
            self.done.append(name)
            if reason:
                raise Rejected(reason)
            return name
        finally:
            self.closed.append(name)


def test_short_work_is_done_at_once_even_while_long_work_goes_on() -> None:
    steps = Steps()

    async def run() -> list[str]:
        works = steps.work("long", 3), steps.work("short", 1)
        return await asyncio.gather(*map(steps.long_work.run, works))

    assert asyncio.run(run()) == ["long", "short"]
    assert steps.done == ["long", "rest", "short", "long", "rest", "long"]


def test_a_rest_is_twice_as_long_as_the_piece_before_it() -> None:
    steps = Steps()

    asyncio.run(steps.long_work.run(steps.work("long", 4)))

    # The first piece is done before the work waits for its turn.
    assert steps.rests_s == [0, 2 * PIECE_S, 2 * PIECE_S]


def test_long_work_is_done_one_at_a_time() -> None:
    steps = Steps()

    async def run() -> None:
        await asyncio.gather(*(steps.long_work.run(steps.work(name, 4)) for name in "abc"))

    asyncio.run(run())

    begun = ["a", "rest", "b", "c"]
    assert steps.done == begun + ["a", "rest"] * 2 + ["a"] + ["rest", "b"] * 3 + ["rest", "c"] * 3


def test_long_work_that_fails_leaves_the_turn_to_the_next() -> None:
    steps = Steps()

    async def run() -> list[str | BaseException]:
        works = steps.work("a", 3, "too-deep"), steps.work("b", 3)
        return await asyncio.gather(*map(steps.long_work.run, works), return_exceptions=True)

    failed, done = asyncio.run(run())

    assert isinstance(failed, Rejected)
    assert done == "b"


@pytest.mark.parametrize("name", ["a", "b"], ids=["that is being done", "that waits"])
def test_long_work_whose_caller_is_cancelled_is_closed(name: str) -> None:
    steps = Steps()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(steps.long_work.run(steps.work(name, 9))) for name in "ab"}
            await asyncio.sleep(0)
            tasks[name].cancel()

    asyncio.run(run())

    assert steps.closed[0] == name
    assert steps.done.count("b" if name == "a" else "a") == 9
