"""Large objects are inspected one after another; results are remembered for a day, and nothing ends the inspections."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.intake.repeats.background import MOST_REMEMBERED, MOST_WAITING, REMEMBERED_S, BackgroundInspections
from gateway.intake.tiers import TieredObject
from operators.errors import Unavailable
from schemas.objects import Bucket, Envelope
from tests.support.worlds.intake import VirtualTime
from tests.unit.gateway.intake.test_tiers import ENVELOPE

ONE = TieredObject(Bucket.HOT, "local/1/1/1.dcm", 1, "tag", ENVELOPE)

Inspect = Callable[[TieredObject, Envelope], Awaitable[str]]


def numbered(number: int) -> TieredObject:
    return replace(ONE, key=f"local/1/1/{number}.dcm")


def run(
    inspect: Inspect, test: Callable[[BackgroundInspections], Awaitable[None]], time: VirtualTime | None = None
) -> None:
    """Run a test while inspections run."""

    async def both() -> None:
        inspections = BackgroundInspections(inspect, (time or VirtualTime()).clock)
        running = asyncio.ensure_future(inspections.run())
        try:
            async with asyncio.timeout(10):
                await test(inspections)
            assert not running.done()
        finally:
            running.cancel()

    asyncio.run(both())


async def verdict(inspections: BackgroundInspections, found: TieredObject) -> str:
    """Return the result for an object once there is one."""
    while (known := inspections.verdict(found)) is None:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    return known


async def altered(_: TieredObject, __: Envelope) -> str:
    return "object-altered"


def test_a_result_holds_for_the_version_that_was_inspected_for_a_day() -> None:
    time = VirtualTime()

    async def test(inspections: BackgroundInspections) -> None:
        assert inspections.verdict(ONE) is None
        inspections.begin(ONE, ENVELOPE)
        assert await verdict(inspections, ONE) == "object-altered"
        assert inspections.verdict(replace(ONE, etag="another")) is None
        time.now_s = REMEMBERED_S
        assert inspections.verdict(ONE) == "object-altered"
        time.now_s = REMEMBERED_S + 1
        assert inspections.verdict(ONE) is None

    run(altered, test, time)


def test_a_result_is_forgotten_with_its_version() -> None:
    async def test(inspections: BackgroundInspections) -> None:
        inspections.begin(ONE, ENVELOPE)
        await verdict(inspections, ONE)
        inspections.forget(ONE)
        assert inspections.verdict(ONE) is None

    run(altered, test)


def test_one_object_is_inspected_at_a_time_and_none_twice_at_once() -> None:
    inspected: list[str] = []
    at_once = 0

    async def inspect(found: TieredObject, _: Envelope) -> str:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        await asyncio.sleep(0)
        inspected.append(found.key)
        at_once -= 1
        return ""

    async def test(inspections: BackgroundInspections) -> None:
        for _ in range(3):
            for number in range(3):
                inspections.begin(numbered(number), ENVELOPE)
        for number in range(3):
            assert await verdict(inspections, numbered(number)) == ""

    run(inspect, test)

    assert inspected == [numbered(number).key for number in range(3)]


@pytest.mark.parametrize("error", [Unavailable("store"), TimeoutError(), ValueError("a fault of ours")])
def test_an_inspection_that_fails_ends_no_other_and_may_begin_again(error: Exception) -> None:
    errors = [error]

    async def inspect(found: TieredObject, _: Envelope) -> str:
        if found == ONE and errors:
            raise errors.pop()
        return ""

    async def test(inspections: BackgroundInspections) -> None:
        inspections.begin(ONE, ENVELOPE)
        inspections.begin(numbered(2), ENVELOPE)
        assert await verdict(inspections, numbered(2)) == ""
        assert inspections.verdict(ONE) is None
        inspections.begin(ONE, ENVELOPE)
        assert await verdict(inspections, ONE) == ""

    run(inspect, test)


def test_no_more_wait_and_no_more_are_remembered_than_there_is_room_for() -> None:
    inspected: list[str] = []

    async def inspect(found: TieredObject, _: Envelope) -> str:
        inspected.append(found.key)
        return ""

    async def test(inspections: BackgroundInspections) -> None:
        for number in range(2 * MOST_WAITING):
            inspections.begin(numbered(number), ENVELOPE)
        await verdict(inspections, numbered(MOST_WAITING - 1))
        assert len(inspected) == MOST_WAITING
        for number in range(MOST_REMEMBERED + 1):
            inspections.forget(numbered(number))
            inspections.begin(numbered(number), ENVELOPE)
            await verdict(inspections, numbered(number))
        assert [inspections.verdict(numbered(number)) for number in (0, 1, MOST_REMEMBERED)] == [None, "", ""]

    run(inspect, test)
