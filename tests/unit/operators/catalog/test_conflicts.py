"""The event of a conflict is made of its two rows alone."""

from operators.catalog.conflicts import conflict_output
from operators.catalog.contents import merge
from operators.catalog.projection import storable_instance
from schemas.events import InstanceConflict
from schemas.topics import INSTANCE_CONFLICT
from tests.support.worlds.catalog_histories import instance


def event_of(shown_second: int, lost_second: int) -> InstanceConflict:
    """Return the event of content "a", which is shown, and content "b"."""
    shown, lost = instance(second=shown_second), instance(content="b", second=lost_second)
    contents = merge((), [storable_instance(one).content for one in (shown, lost)])
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
    assert event.kind == "content"


def test_a_conflict_is_dated_by_the_later_content() -> None:
    assert event_of(1, 5).occurred_at == instance(second=5).stored_at


def test_the_same_two_contents_have_the_same_event_id_whenever_it_is_made() -> None:
    assert event_of(1, 5).event_id == event_of(1, 5).event_id == event_of(2, 9).event_id
