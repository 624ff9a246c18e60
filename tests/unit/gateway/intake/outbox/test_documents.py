"""A document leaves nothing to do once its event is acknowledged, and an open intent when anything fails before."""

from pathlib import Path

import pytest

from gateway.intake.outbox.documents import intended
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.ledger import POLICY
from gateway.intake.outbox.outbox import Outbox
from operators.errors import Unavailable
from tests.support.worlds.intake import FullJournal, IntakeWorld

KEY = "local/_policies/tiering/age/000001.json"


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def outbox(world: IntakeWorld, kind: type[Journal] = Journal) -> Outbox:
    return Outbox(kind.create(world.folder), world.outbox_ports())


def test_the_intent_is_there_before_the_object_and_gone_after_the_event(world: IntakeWorld) -> None:
    own, passed = outbox(world), list[tuple[str, bool]]()

    with intended(own, POLICY, KEY, lambda point: passed.append((point, own.is_empty))):
        passed.append(("block", own.is_empty))

    assert passed == [("after_intent", False), ("block", False), ("after_event", False), ("after_done", True)]


def test_a_block_that_fails_leaves_the_intent_to_the_outbox(world: IntakeWorld) -> None:
    own, passed = outbox(world), list[str]()

    with pytest.raises(KeyError), intended(own, POLICY, KEY, passed.append):
        raise KeyError

    assert (own.is_empty, passed) == (False, ["after_intent"])


def test_on_a_full_disk_nothing_is_stored(world: IntakeWorld) -> None:
    with pytest.raises(Unavailable, match="outbox"), intended(outbox(world, FullJournal), POLICY, KEY, print):
        raise AssertionError
