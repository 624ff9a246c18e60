"""The law of the whole path: whatever befalls gateways, servers and jobs, what was acknowledged is shown, once."""

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings

from tests.support.worlds.path import claims
from tests.support.worlds.path.archive import Archive, Content
from tests.support.worlds.path.gateways import MortalJournal
from tests.support.worlds.path.moves import HISTORIES, Fault, History, Lose, Pass, Send
from tests.support.worlds.path.virtual_loop import run_virtually

# The longest pause between two moves: about as long as a sender needs for one instance.
PAUSE_S = 2.0


# The object of the second sender is lost; that of the first one, whose PUT is carried out late, takes its place.
LATE_IN_PLACE_OF_LOST = (
    Fault("store", 0.0, 0.0, 0.6),
    Send(0, (Content(1, 1),)),
    Send(1, (Content(1, 1),)),
    Pass(8.0),
    Lose(0),
)


@settings(max_examples=500, deadline=None)
@given(HISTORIES)
# The first sender's intent is still open, and its event tells of the late object.
@example(History(LATE_IN_PLACE_OF_LOST, (0.0, 0.0), 1, 95))
# The second sender's object has closed that intent: the event of the repeat tells of the late object.
@example(History(LATE_IN_PLACE_OF_LOST, (0.0, 0.0), 1, 657))
def test_whatever_happens_each_acknowledged_instance_is_shown_once(history: History) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("gateway.intake.outbox.adoption.Journal", MortalJournal):
        run_virtually(lived(history, Path(folder)))


async def lived(history: History, folder: Path) -> None:
    """Live through a history, and assert the claims at its end, and again once all was sent again."""
    chance = Random(history.seed)
    archive = Archive(folder, chance, history.clocks_ahead_h, history.shards)
    try:
        for move in history.moves:
            await move.happen(archive)
            await asyncio.sleep(chance.uniform(0, PAUSE_S))
        await archive.settle()
        await judged(archive)
    finally:
        archive.close()


async def judged(archive: Archive) -> None:
    """Assert the claims about an archive that has settled, and again once all was sent again."""
    assert archive.failures == []
    claims.all_is_published(archive)
    claims.all_is_shown(archive)
    claims.first_stays(archive)
    # Two events of an instance whose envelope was lost in between differ in when it was stored: what is shown may change
    # with the second one, which the study job takes for a repetition. The next arrival in the study makes the revision.
    if not archive.has_lost_envelope:
        claims.revisions_are_right(archive)
    claims.facts_are_those_of_revisions(archive)
    claims.shown_can_be_read(archive)
    claims.transfers_are_counted(archive)
    claims.commands_are_counted(archive)

    await replayed(archive)
    before, was_whole = _settled(archive), archive.sent.keys() <= archive.stored - archive.damaged
    await archive.repeat_everything()
    claims.all_is_published(archive)
    claims.all_is_shown(archive)
    claims.revisions_are_right(archive)
    claims.facts_are_those_of_revisions(archive)
    claims.objects_are_good(archive)
    claims.shown_can_be_read(archive)
    if not archive.has_lost_envelope:
        assert not was_whole or _settled(archive) == before


async def replayed(archive: Archive) -> None:
    """Let the study job read all records again without its state, and assert that no row and no revision changes.

    Not if an envelope was lost: a replay makes the revision that the next arrival would have made.
    """
    before, rows = _settled(archive), _rows(archive)
    await archive.replay()
    assert archive.has_lost_envelope or (_settled(archive), _rows(archive)) == (before, rows)


def _rows(archive: Archive) -> list[Any]:
    tables = archive.catalog.tables
    return [dict(rows) for rows in (tables.instances, tables.conflicts, tables.studies, tables.revision_rows)]


def _settled(archive: Archive) -> dict[str, set[tuple[int, int, str]]]:
    return {study_uid: claims.announced(archive, study_uid) for _, study_uid in archive.catalog.tables.studies}
