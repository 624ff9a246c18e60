"""The events of the quarantine: an object held there, and the decision that ends the hold."""

from dataclasses import replace
from datetime import timedelta

import pytest

from operators.store import quarantine
from operators.store.ports import StoredObject
from operators.store.quarantine import TICK
from schemas.events import QuarantineState
from schemas.objects import Envelope
from tests.support.worlds.catalog_histories import EXPLICIT, NOON, quarantined

HASH = "ab" * 32
OBJECT = StoredObject(
    quarantine.key("local", HASH),
    1234,
    Envelope(
        stored_at=NOON + timedelta(seconds=2),
        received_at=NOON,
        origin="import",
        transfer_id="t9",
        calling_ae="MR7",
        called_ae="ARCHIVE",
        transfer_syntax=EXPLICIT,
        prefix_length=300,
        prefix_hash="5" * 64,
        header_length=0,
        reason="not-dicom",
    ),
)
# The fields that an envelope and its event share.
NAMED = ("reason", "origin", "transfer_id", "calling_ae", "called_ae", "prefix_hash", "received_at", "stored_at")
DECISIONS: tuple[QuarantineState, ...] = ("released", "discarded")


def test_a_key_is_read_back_as_its_tenant_and_hash() -> None:
    assert quarantine.tenant_and_hash(quarantine.key("local", HASH)) == ("local", HASH)


def test_the_same_hash_of_two_tenants_has_two_keys() -> None:
    assert quarantine.key("one", HASH) != quarantine.key("two", HASH)


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


@pytest.mark.parametrize("state", DECISIONS)
def test_a_decision_has_its_own_time_and_reason_and_leaves_the_rest_of_the_event_as_it_was(
    state: QuarantineState,
) -> None:
    held, now = quarantined(), NOON + timedelta(days=2)
    decision = quarantine.decided(held, state, now, "ops", "sent again")
    own = replace(held, event_id=decision.event_id, occurred_at=now, cause=(held.event_id,), state=state)

    assert decision == replace(own, who="ops", why="sent again")


@pytest.mark.parametrize("behind", [timedelta(), timedelta(days=1)])
def test_a_decision_at_the_moment_of_the_hold_or_before_is_dated_a_tick_later(behind: timedelta) -> None:
    held = quarantined()

    assert quarantine.decided(held, "released", held.occurred_at - behind).occurred_at == held.occurred_at + TICK


def test_the_same_decision_has_the_same_event_id_whenever_it_is_made() -> None:
    early, late = (quarantine.decided(quarantined(), "released", NOON + timedelta(days=day)) for day in (1, 2))

    assert early.event_id == late.event_id


def test_each_decision_has_an_event_id_of_its_own() -> None:
    ids = {quarantine.decided(quarantined(), state, NOON).event_id for state in DECISIONS}

    assert len(ids | {quarantined().event_id}) == len(DECISIONS) + 1


def test_the_event_of_a_held_object_names_what_its_envelope_says() -> None:
    event = quarantine.held(OBJECT, timedelta(days=30))

    assert {name: getattr(event, name) for name in NAMED} == {name: getattr(OBJECT.envelope, name) for name in NAMED}
    assert (event.tenant, event.data_hash, event.object_key) == ("local", HASH, OBJECT.key)
    assert (event.state, event.size_bytes, event.cause) == ("held", OBJECT.size_bytes, (event.transfer_id,))
    assert event.occurred_at == event.stored_at
