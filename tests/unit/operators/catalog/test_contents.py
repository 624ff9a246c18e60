"""Which content of an instance is shown, which of its objects gives its size and places, and how the others differ."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.catalog import contents
from operators.catalog.contents import Contents
from operators.catalog.projection import storable_instance
from operators.catalog.rows import Content
from schemas.events import Facts
from tests.support.worlds.catalog_histories import EXPLICIT, JPEG, behind, instance


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"facts": Facts(patient_id="P2"), "transfer_syntax": JPEG}, "patient"),
        ({"transfer_syntax": JPEG}, "re-encoded"),
        ({"transfer_syntax": EXPLICIT}, "content"),
    ],
)
def test_the_kind_of_a_conflict_tells_how_the_contents_differ(change: dict[str, Any], kind: str) -> None:
    shown, lost = (
        storable_instance(instance()).content,
        storable_instance(instance(content="b", second=1, **change)).content,
    )
    found = contents.merge([], [lost, shown])

    assert found.shown == shown
    assert [row.kind for row in found.lost] == [kind]


@st.composite
def arrived(draw: st.DrawFn) -> Content:
    """Draw one of a few contents of one instance, in one of a few objects."""
    event = instance(
        content=draw(st.sampled_from("ab")),
        second=draw(st.integers(0, 2)),
        transfer=draw(st.sampled_from(("t1", "t2"))),
    )
    return storable_instance(behind(event, draw(st.sampled_from(("0" * 64, "1" * 64))))).content


def all_of(contents: Contents) -> tuple[Content, ...]:
    return (contents.shown, *contents.lost)


def of(found: Contents) -> tuple[Content, set[Content]]:
    return found.shown, set(found.lost)


GROUPS = st.lists(arrived(), min_size=1, max_size=4)


@given(GROUPS, GROUPS, GROUPS)
def test_contents_are_merged_alike_in_any_order_in_any_groups_and_again(
    one: list[Content], two: list[Content], three: list[Content]
) -> None:
    first, last = contents.merge([], one), contents.merge([], three)
    from_left = contents.merge(all_of(contents.merge(all_of(first), two)), three)
    from_right = contents.merge(all_of(contents.merge(all_of(last), two)), one)
    at_once = contents.merge([], [*two, *three, *one])

    assert of(from_left) == of(from_right) == of(at_once)
    assert of(contents.merge(all_of(from_left), [*one, *two, *three])) == of(from_left)


def test_a_content_stored_again_keeps_its_place_in_the_order_and_has_the_object_that_is_there() -> None:
    first, other = instance(second=1), instance(content="b", second=2)
    again = behind(instance(second=3, transfer="t3"), "1" * 64)
    found = contents.merge([], [storable_instance(event).content for event in (again, other, first)])

    assert (found.shown.data_hash, found.shown.stored_at, found.shown.transfer_id) == (
        first.data_hash,
        first.stored_at,
        first.transfer_id,
    )
    assert (found.shown.last_stored_at, found.shown.prefix_hash, found.shown.size_bytes) == (
        again.stored_at,
        again.prefix_hash,
        again.size_bytes,
    )


def test_an_object_that_was_taken_late_is_the_one_that_is_there() -> None:
    lost, dated = instance(second=2), instance(second=1)
    late = behind(replace(dated, occurred_at=lost.stored_at + timedelta(seconds=40)), "1" * 64)
    found = contents.merge([], [storable_instance(event).content for event in (late, lost)])

    assert (found.shown.stored_at, found.shown.last_stored_at) == (dated.stored_at, late.occurred_at)
    assert (found.shown.prefix_hash, found.shown.size_bytes) == (late.prefix_hash, late.size_bytes)
