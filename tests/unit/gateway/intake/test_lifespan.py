"""An intake is open even while parts of its background work fail, and it finishes its outbox when it is left."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.intake.lifespan import Connectors, open_intake
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.store.ports import ListedObject
from operators.tasks import Background
from schemas.objects import Bucket
from schemas.settings.intake import QuarantineSettings
from tests.support.worlds.gateway import intake_in


class UnlistableStore(MemoryObjectStore):
    """A store that fails unexpectedly when its quarantine is listed."""

    async def listing(self, bucket: Bucket, prefix: str = "") -> AsyncIterator[ListedObject]:
        if bucket is Bucket.QUARANTINE:
            raise RuntimeError
        yield ListedObject(prefix, 0)


def test_work_that_fails_stops_neither_the_intake_nor_other_work(tmp_path: Path) -> None:
    background = Background()

    async def opened() -> tuple[str, ...]:
        connectors = Connectors(UnlistableStore(), MemoryEventLog())
        async with open_intake(intake_in(tmp_path), QuarantineSettings(), connectors, background):
            for _ in range(10):
                await asyncio.sleep(0)
            return background.failing()

    with capture_logs() as logs:
        failing = asyncio.run(opened())

    assert failing == ("quarantine_watch",)
    assert [(entry["event"], entry["task"]) for entry in logs] == [("task_failed", "quarantine_watch")]
    assert background.failing() == ()
    assert list((tmp_path / "outbox").iterdir()) == []


def test_an_outbox_that_cannot_be_removed_is_reported_when_the_intake_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "bad disk", str(path), missing_ok)

    async def leave() -> None:
        connectors = Connectors(MemoryObjectStore(), MemoryEventLog())
        async with open_intake(intake_in(tmp_path), QuarantineSettings(), connectors, Background()):
            monkeypatch.setattr(Path, "unlink", fail)

    with capture_logs() as logs:
        asyncio.run(leave())

    (left,) = (tmp_path / "outbox").iterdir()
    assert [(entry["event"], entry["file"], entry["errno"]) for entry in logs] == [
        ("outbox_unreadable", left.name, errno.EIO)
    ]
