"""A process knows which content of an instance is shown by the catalog's own rule, and remembers a bounded number."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest

from gateway.intake.known_contents import KnownContents
from operators.catalog.contents import merge
from operators.catalog.projection import storable_instance
from schemas.events import InstanceStored
from schemas.objects import Identity
from tests.support.worlds.intake import IntakeWorld


@pytest.fixture
def event(tmp_path: Path) -> InstanceStored:
    return IntakeWorld(tmp_path).gateway().accept(1).event


def other(event: InstanceStored, letter: str, series_uid: str, after_s: int) -> InstanceStored:
    """Return the event of another content of the instance, of a hash of this letter, stored so many seconds later."""
    identity = Identity(event.tenant, event.study_uid, series_uid, event.sop_uid, letter * 64)
    stored_at = event.stored_at + timedelta(seconds=after_s)
    return replace(
        event, series_uid=series_uid, data_hash=identity.data_hash, object_key=identity.key, stored_at=stored_at
    )


def test_of_all_contents_the_one_that_the_catalog_shows_counts_as_shown_in_any_order(event: InstanceStored) -> None:
    contents = [
        event,
        other(event, "a", "1.2.3.8", 1),
        other(event, "b", event.series_uid, 1),
        other(event, "0", "1.9", 0),
    ]
    shown = merge((), (storable_instance(one).content for one in contents)).shown.data_hash

    for order in permutations(contents):
        known = KnownContents()
        for one in order:
            known.is_shown(one)
        assert [known.is_shown(one) for one in contents] == [one.data_hash == shown for one in contents]


def test_the_instance_that_was_acknowledged_longest_ago_is_forgotten(event: InstanceStored) -> None:
    known = KnownContents(most=2)
    instances = [replace(event, sop_uid=f"1.2.3.{number}") for number in range(3)]
    for one in (*instances[:2], instances[0], instances[2]):
        known.is_shown(one)

    assert [known.is_shown(other(one, "f", "1.9", 1)) for one in (instances[0], instances[2])] == [False, False]
    assert known.is_shown(other(instances[1], "f", "1.9", 1))
