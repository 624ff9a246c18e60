"""The events of the quarantine: an object held there, and the decision that ends the hold."""

from datetime import timedelta

import pytest

from operators.store import quarantine
from schemas.events import QuarantineState
from tests.support.worlds.catalog_histories import NOON, quarantined

HASH = "ab" * 32
DECISIONS: tuple[QuarantineState, ...] = ("released", "discarded")


def test_a_key_is_read_back_as_its_tenant_and_hash() -> None:
    assert quarantine.tenant_and_hash(quarantine.key("local", HASH)) == ("local", HASH)


def test_the_event_of_a_held_object_is_always_the_same() -> None:
    assert quarantined() == quarantined()


def test_a_hold_ends_after_the_days_that_it_is_kept_from_its_first_arrival() -> None:
    event = quarantined()

    assert event.until == event.stored_at + timedelta(days=30)


def test_content_that_is_held_once_more_later_has_another_event() -> None:
    assert quarantined(second=0).event_id != quarantined(second=1).event_id


@pytest.mark.parametrize("state", DECISIONS)
def test_a_decision_is_later_than_what_it_decides_even_if_the_clock_is_behind(state: QuarantineState) -> None:
    held = quarantined()
    decision = quarantine.decided(held, state, NOON - timedelta(hours=2))

    assert decision.occurred_at > held.occurred_at
    assert (decision.state, decision.cause) == (state, (held.event_id,))


def test_each_decision_has_an_event_id_of_its_own() -> None:
    ids = {quarantine.decided(quarantined(), state, NOON).event_id for state in DECISIONS}

    assert len(ids | {quarantined().event_id}) == len(DECISIONS) + 1


def test_the_event_of_a_held_object_names_what_its_envelope_says() -> None:
    event = quarantined()

    assert (event.state, event.reason, event.calling_ae) == ("held", "no-usable-uid", "CT1")
    assert (event.occurred_at, event.cause) == (event.stored_at, (event.transfer_id,))
