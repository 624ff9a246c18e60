"""The law of rebuild: whatever has befallen an archive, its objects tell what it shows, and tell nothing new to it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings

from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, StoredBytes
from operators.store.commands import COMMANDS
from pipelines.batch.rebuild.work import Rebuild
from pipelines.batch.running import CountingJournal, Shift
from pipelines.batch.selection import Selection
from pipelines.batch.servers import BatchServers
from schemas.events import StudyCommand
from schemas.objects import Bucket
from schemas.topics import STUDY_COMMAND
from tests.support.rebuilt.told import LIVING, Row, differences, told
from tests.support.worlds.path.archive import Archive
from tests.support.worlds.path.gateways import MortalJournal
from tests.support.worlds.path.moves import HISTORIES, History
from tests.support.worlds.path.virtual_loop import run_virtually

PAUSE_S = 2.0


@settings(max_examples=30, deadline=None)
@given(HISTORIES)
def test_objects_alone_make_the_same_tables_and_change_none_that_are_there(history: History) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("gateway.intake.outbox.adoption.Journal", MortalJournal):
        run_virtually(lived(history, Path(folder)))


async def lived(history: History, folder: Path) -> None:
    chance = Random(history.seed)
    archive = Archive(folder / "first", chance, history.clocks_ahead_h, history.shards)
    empty = Archive(folder / "second", chance, history.clocks_ahead_h, history.shards)
    try:
        for move in history.moves:
            await move.happen(archive)
            await asyncio.sleep(chance.uniform(0, PAUSE_S))
        await archive.settle()
        if archive.was_damaged:
            # What was lost or altered has no event any more, or another one.
            return
        store_commands(archive)
        before = tables(archive)
        empty.machines.store.objects.update(archive.machines.store.objects)
        for each, name in ((archive, "living"), (empty, "wiped")):
            (folder / name).mkdir()
            await rebuild(each.machines.store, each.machines.events, folder / name)
            await each.settle()
        objects = empty.machines.store.objects.items()
        named = {(held.metadata["transfer-id"], key.split("/")[1]) for (_, key), held in objects if held.metadata}
        assert differences(told(before, named=named), told(tables(empty), named=named)) == []
        assert told(tables(archive), LIVING) == told(before, LIVING)
    finally:
        archive.close()
        empty.close()


def store_commands(archive: Archive) -> None:
    """Put each command as an object beside its study, as whoever gives one does."""
    for event in archive.machines.events.events(STUDY_COMMAND):
        assert isinstance(event, StudyCommand)
        upload = COMMANDS.upload_of(event)
        archive.machines.store.objects[Bucket.HOT, upload.key] = StoredBytes(b"".join(upload.parts), {})


async def rebuild(store: MemoryObjectStore, events: MemoryEventLog, folder: Path) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[BatchServers]:
        yield BatchServers(store, events)

    with CountingJournal(folder) as journal:
        await Rebuild(opened, timedelta(days=30))(Shift(Selection(), (0, 1), journal.finished, journal))


def tables(archive: Archive) -> dict[str, list[Row]]:
    found = archive.catalog.tables
    every: dict[str, Iterable[Any]] = {
        "study": found.studies.values(),
        "series": found.series.values(),
        "instance": found.instances.values(),
        "conflict": found.conflicts.values(),
        "command": found.commands.values(),
        "decision": found.decisions.values(),
        "transfer": found.transfers.values(),
        "revision": found.revision_rows.values(),
    }
    return {name: [asdict(row) for row in rows] for name, rows in every.items()}
