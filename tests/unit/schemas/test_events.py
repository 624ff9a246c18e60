"""The id of an event is a function of what the event is about."""

from schemas.events import event_id


def test_the_same_parts_have_the_same_event_id() -> None:
    assert event_id("a", "b") == event_id("a", "b") != event_id("a", "c")
