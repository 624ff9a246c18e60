"""The background tasks of an open intake: one that fails is logged under its own name, and stops the process."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.intake.lifespan import Connectors, open_intake
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.outbox import Outbox
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from schemas.objects import Bucket
from schemas.settings.intake import QuarantineSettings
from tests.support.worlds.gateway import intake_in


class UnlistableStore(MemoryObjectStore):
    """A store that fails unexpectedly when its quarantine is listed."""

    async def sizes(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        if bucket is Bucket.QUARANTINE:
            raise RuntimeError
        yield prefix, 0


@contextmanager
def sigterm_counted() -> Iterator[list[int]]:
    """Count the SIGTERMs that this process sends itself, instead of ending it."""
    raised: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: raised.append(number))
    try:
        yield raised
    finally:
        signal.signal(signal.SIGTERM, before)


def nothing_fails(_: pytest.MonkeyPatch) -> MemoryObjectStore:
    return MemoryObjectStore()


def the_quarantine_watch_fails(_: pytest.MonkeyPatch) -> MemoryObjectStore:
    return UnlistableStore()


def the_outbox_fails(patch: pytest.MonkeyPatch) -> MemoryObjectStore:
    async def run(_: Outbox) -> None:
        raise RuntimeError

    patch.setattr(Outbox, "run", run)
    return MemoryObjectStore()


def taking_over_outboxes_fails(patch: pytest.MonkeyPatch) -> MemoryObjectStore:
    def ownerless(_: Path) -> Iterator[Journal]:
        raise RuntimeError

    patch.setattr(Journal, "ownerless", ownerless)
    return MemoryObjectStore()


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        (nothing_fails, None),
        (the_quarantine_watch_fails, "quarantine_watch_failed"),
        (the_outbox_fails, "outbox_failed"),
        (taking_over_outboxes_fails, "outbox_adoption_failed"),
    ],
)
def test_a_background_task_that_fails_is_logged_by_name_and_stops_the_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], MemoryObjectStore],
    event: str | None,
) -> None:
    connectors = Connectors(fault(monkeypatch), MemoryEventLog())

    async def opened() -> None:
        async with open_intake(intake_in(tmp_path), QuarantineSettings(), connectors):
            for _ in range(10):
                await asyncio.sleep(0)

    with capture_logs() as logs, sigterm_counted() as raised:
        asyncio.run(opened())

    critical = [entry["event"] for entry in logs if entry["log_level"] == "critical"]
    assert critical == ([event] if event else [])
    assert raised == ([signal.SIGTERM] if event else [])
