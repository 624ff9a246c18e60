"""The event of a conflict is made from its two rows alone."""

from typing import Any

import pytest

from operators.catalog.conflicts import conflict_output
from operators.catalog.contents import merge
from operators.catalog.projection import storable_instance
from schemas.codec import encode
from schemas.events import Facts, InstanceConflict
from schemas.topics import INSTANCE_CONFLICT
from tests.support.worlds.catalog_histories import JPEG, instance


def event_of(shown_second: int, lost_second: int, **lost_values: Any) -> InstanceConflict:
    """Return the event of content "a", which is shown, and content "b", which has these other values."""
    shown, lost = instance(second=shown_second), instance(content="b", second=lost_second, **lost_values)
    contents = merge((), [storable_instance(event).content for event in (shown, lost)])
    output = conflict_output(contents.shown, contents.lost[0])
    assert output.topic is INSTANCE_CONFLICT
    assert isinstance(output.event, InstanceConflict)
    return output.event


def test_a_conflict_names_both_contents_and_the_events_that_brought_them() -> None:
    shown, lost = instance(second=1), instance(content="b", second=5)
    event = event_of(1, 5)

    assert (event.shown_data_hash, event.lost_data_hash) == (shown.data_hash, lost.data_hash)
    assert (event.shown_object_key, event.lost_object_key) == (shown.object_key, lost.object_key)
    assert event.cause == (shown.event_id, lost.event_id)
    assert (event.shown_stored_at, event.lost_stored_at) == (shown.stored_at, lost.stored_at)
    assert (event.tenant, event.study_uid, event.sop_uid) == (shown.tenant, shown.study_uid, shown.sop_uid)


@pytest.mark.parametrize(
    ("lost", "kind"),
    [({}, "content"), ({"transfer_syntax": JPEG}, "re-encoded"), ({"facts": Facts(patient_id="P2")}, "patient")],
)
def test_a_conflict_tells_how_the_lost_content_differs(lost: dict[str, Any], kind: str) -> None:
    assert event_of(1, 5, **lost).kind == kind


def test_a_conflict_of_patients_names_no_patient() -> None:
    event = event_of(1, 5, facts=Facts(patient_id="SECRET"))

    assert event.kind == "patient"
    assert b"SECRET" not in encode(event)


def test_each_pair_of_contents_has_an_event_of_its_own() -> None:
    shown, *lost = (storable_instance(instance(content=name, second=at)).content for at, name in enumerate("abc"))
    ids = {conflict_output(shown, row).event.event_id for row in merge((), (shown, *lost)).lost}

    assert len(ids) == len(lost)


def test_a_conflict_is_dated_by_the_later_content() -> None:
    assert event_of(1, 5).occurred_at == instance(second=5).stored_at


def test_the_event_id_of_a_conflict_depends_only_on_its_two_contents() -> None:
    assert event_of(1, 5).event_id == event_of(1, 5).event_id == event_of(2, 9).event_id
