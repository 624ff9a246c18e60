"""The event of a stored object is rebuilt from the object, whichever tier has it."""

import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest

from operators.connectors.memory.stores import Outage
from schemas.objects import Bucket
from tests.support.worlds.intake import IntakeWorld, killed_during


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def test_an_event_is_rebuilt_after_the_spool_was_full_for_a_while(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_during(world, world.events, Outage.REFUSES)
    refusals = iter([OSError(errno.ENOSPC, "full")] * 3)
    real = tempfile.TemporaryFile

    def sometimes_full(**given: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return real(**given)

    monkeypatch.setattr("gateway.intake.rebuild.tempfile.TemporaryFile", sometimes_full)

    assert world.heal() == 1
    assert len(world.stored) == 1


@pytest.mark.parametrize("tier", [Bucket.HOT, Bucket.WARM, Bucket.COLD])
def test_an_object_is_found_in_every_tier(world: IntakeWorld, tier: Bucket) -> None:
    killed_during(world, world.events, Outage.LOSES_ANSWER)
    world.move(tier)

    world.heal()

    first, healed = world.stored
    assert healed == first
    assert world.ended == [("1.2.3", "lost", 1)]
