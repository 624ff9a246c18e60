"""A process is ready while its servers answer and its background work goes on."""

import asyncio

import pytest
from structlog.testing import capture_logs

from operators import readiness as module
from operators.errors import Unavailable
from operators.readiness import FRESH_S, Readiness, is_ready


async def answers() -> None:
    """Answer."""


async def refuses() -> None:
    raise Unavailable("store")


async def never_answers() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise RuntimeError


def test_each_server_and_each_failing_task_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_S", 0.01)
    checks = {"catalog": answers, "store": refuses, "broker": never_answers, "index": breaks}
    states = asyncio.run(Readiness(checks, lambda: ("outbox",)).states())

    assert states == {"catalog": "ready", "store": "away", "broker": "away", "index": "away", "outbox": "failing"}
    assert not is_ready(states)


def test_a_server_that_goes_away_is_logged_once_with_the_cause() -> None:
    now = 0.0

    async def rejected() -> None:
        raise Unavailable("broker", "broker:9093: Authentication failed")

    async def ask_twice() -> None:
        nonlocal now
        readiness = Readiness({"broker": rejected, "store": answers}, clock=lambda: now)
        await readiness.states()
        now += 2 * FRESH_S
        await readiness.states()

    with capture_logs() as logs:
        asyncio.run(ask_twice())

    (line,) = logs
    assert (line["event"], line["server"], line["why"]) == (
        "server_away",
        "broker",
        "broker:9093: Authentication failed",
    )


def test_many_questions_at_once_ask_each_server_once_a_second() -> None:
    asked: list[float] = []
    now = 0.0
    failing: list[str] = []

    async def check() -> None:
        asked.append(now)
        await asyncio.sleep(0)

    async def ask() -> dict[str, str]:
        nonlocal now
        readiness = Readiness({"store": check}, lambda: failing, lambda: now)
        await asyncio.gather(*(readiness.states() for _ in range(10)))
        now += FRESH_S
        await readiness.states()
        failing.append("outbox")
        return await readiness.states()

    states = asyncio.run(ask())

    assert asked == [0.0, FRESH_S]
    assert states == {"store": "ready", "outbox": "failing"}


@pytest.mark.parametrize(
    ("states", "expected"), [({}, True), ({"store": "ready"}, True), ({"store": "ready", "outbox": "failing"}, False)]
)
def test_only_ready_is_ready(states: dict[str, str], *, expected: bool) -> None:
    assert is_ready(states) is expected
