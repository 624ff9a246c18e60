"""Work runs ahead of its results, a bounded number of pieces at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipelines.batch.ahead import results_in_order


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Pieces:
    """Pieces of work that take the longer the lower their number is; the one that `fails` fails."""

    def __init__(self, fails: int = -1) -> None:
        self.running = self.most = 0
        self.fails = fails

    async def __call__(self, number: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(20 - number):
                await asyncio.sleep(0)
            if number == self.fails:
                raise ValueError(number)
            return number
        finally:
            self.running -= 1


def results(pieces: Pieces, count: int = 10) -> list[int]:
    async def collected() -> list[int]:
        async with results_in_order(numbers(count), pieces, at_once=3) as found:
            return [each async for each in found]

    return asyncio.run(collected())


def test_results_come_in_the_order_of_their_items_and_a_bounded_number_runs() -> None:
    pieces = Pieces()

    assert results(pieces) == list(range(10))
    assert pieces.most == 3


def test_work_that_fails_raises_in_its_place_and_the_rest_ends() -> None:
    pieces = Pieces(fails=4)

    with pytest.raises(ValueError, match="4"):
        results(pieces)
    assert pieces.running == 0
