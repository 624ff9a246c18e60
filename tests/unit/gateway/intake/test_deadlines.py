"""A sender is answered within 15 s of a fault: the limits of the steps add up to no more, and each holds."""

import asyncio
from contextlib import suppress

import pytest

from gateway.intake.deadlines import ANNOUNCE_S, LOOKUP_S, paused, within
from operators.errors import Unavailable
from schemas.settings.servers import BrokerSettings, StoreSettings


def test_a_sender_is_answered_within_15_s_of_a_fault() -> None:
    assert LOOKUP_S + StoreSettings().no_progress_s + ANNOUNCE_S <= 15


def test_an_event_may_take_as_long_as_the_broker_is_given() -> None:
    assert BrokerSettings().produce_s < ANNOUNCE_S


async def wait_within(limit_s: float) -> None:
    async with within(limit_s):
        await asyncio.Event().wait()


def test_a_step_that_takes_longer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="slow"):
        asyncio.run(wait_within(0.01))


def test_a_step_that_is_cancelled_is_not_slow() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(wait_within(60), 0.01))


def test_a_paused_limit_holds_again_after_the_pause() -> None:
    passed = []

    async def test() -> None:
        async with within(0.01) as limit:
            async with paused(limit):
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 0.05)
            passed.append("pause")
            await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="slow"):
        asyncio.run(test())

    assert passed == ["pause"]
