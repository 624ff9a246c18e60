"""The rows of a command: its own, the decision that it makes, and the instance that it chooses."""

import pytest

from operators.catalog.commands.projection import storable_command
from schemas.events import Action
from tests.support.worlds.catalog_histories import choice, command, instance


@pytest.mark.parametrize(
    ("action", "subject", "in_force"),
    [
        ("delete", "deletion", True),
        ("restore", "deletion", False),
        ("hold", "hold", True),
        ("unhold", "hold", False),
    ],
)
def test_a_command_about_a_study_decides_about_one_subject(action: Action, subject: str, *, in_force: bool) -> None:
    event = command(action, second=3)
    decision = storable_command(event).decision

    assert decision is not None
    assert (decision.subject, decision.in_force, decision.sop_uid, decision.data_hash) == (subject, in_force, "", "")
    assert (decision.occurred_at, str(decision.command_id)) == (event.occurred_at, event.event_id)


@pytest.mark.parametrize("action", ["settle", "expect", "reprocess"])
def test_a_command_to_a_job_decides_nothing_in_the_catalog(action: Action) -> None:
    event = command(action, expected_instances=7)
    stored = storable_command(event)

    assert (stored.decision, stored.chosen, stored.row.action) == (None, None, action)
    assert stored.row.arguments == {"expected_instances": 7}


def test_a_choice_has_the_instance_that_it_chooses() -> None:
    event = instance(content="b")
    stored = storable_command(choice(event))

    assert stored.chosen is not None
    assert stored.chosen.event == event
    assert stored.row.arguments == {"sop_uid": event.sop_uid, "data_hash": event.data_hash}
