"""A process is ready while its servers answer and its background work goes on."""

import asyncio

import pytest

from operators import readiness as module
from operators.errors import Unavailable
from operators.readiness import is_ready, readiness


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
    states = asyncio.run(readiness(checks, ("outbox",)))

    assert states == {"catalog": "ready", "store": "away", "broker": "away", "index": "away", "outbox": "failing"}
    assert not is_ready(states)


@pytest.mark.parametrize(
    ("states", "expected"), [({}, True), ({"store": "ready"}, True), ({"store": "ready", "outbox": "failing"}, False)]
)
def test_only_ready_is_ready(states: dict[str, str], *, expected: bool) -> None:
    assert is_ready(states) is expected
