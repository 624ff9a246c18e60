"""The id of an event is a function of what the event is about."""

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import NAMESPACE, event_id


def test_the_same_parts_have_the_same_event_id() -> None:
    assert event_id("a", "b") == event_id("a", "b") != event_id("a", "c")


@given(st.lists(st.text()))
def test_an_event_id_is_the_uuid_of_its_parts(parts: list[str]) -> None:
    assert event_id(*parts) == str(uuid5(NAMESPACE, "/".join(parts)))
