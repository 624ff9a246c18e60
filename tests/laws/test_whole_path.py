"""The law of the whole path: whatever befalls gateways, servers and jobs, what was acknowledged is shown, once."""

import asyncio
import tempfile
from pathlib import Path
from random import Random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.worlds.path import claims
from tests.support.worlds.path.archive import Archive
from tests.support.worlds.path.gateways import MortalJournal
from tests.support.worlds.path.moves import HISTORIES, Move
from tests.support.worlds.path.virtual_loop import run_virtually

# The longest pause between two moves: about as long as a sender needs for one instance.
PAUSE_S = 2.0


@settings(max_examples=500, deadline=None)
@given(HISTORIES, st.integers(0, 2**32))
def test_whatever_happens_each_acknowledged_instance_is_shown_once(history: list[Move], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("gateway.intake.outbox.adoption.Journal", MortalJournal):
        run_virtually(lived(history, Path(folder), Random(seed)))


async def lived(history: list[Move], folder: Path, chance: Random) -> None:
    """Live through a history, and assert the claims at its end, and again once all was sent again."""
    archive = Archive(folder, chance)
    for move in history:
        await move.happen(archive)
        await asyncio.sleep(chance.uniform(0, PAUSE_S))
    await archive.settle()
    assert archive.failures == []
    claims.all_is_shown(archive)
    claims.revisions_are_right(archive)
    claims.transfers_are_counted(archive)

    before, was_whole = claims.announced(archive), archive.sent.keys() <= archive.stored
    await archive.repeat_everything()
    claims.all_is_shown(archive)
    claims.revisions_are_right(archive)
    claims.objects_are_good(archive)
    assert not was_whole or claims.announced(archive) == before
