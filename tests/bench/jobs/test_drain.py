"""The events of a full topic are events that the jobs can read, each of another instance."""

from collections import Counter

import pytest

from schemas.codec import decode
from schemas.events import InstanceStored
from tests.bench.jobs import drain
from tests.support.data.generate import Volume, instances


def test_a_full_topic_has_distinct_instances_of_side_by_side_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "EVENTS", 80)
    monkeypatch.setattr(drain, "STUDIES", 8)

    found = list(drain.events(next(instances(Volume(size=16))), "1.2."))

    events = [decode(value) for _, value in found]
    assert all(isinstance(event, InstanceStored) for event in events)
    assert len({event.event_id for event in events}) == 80
    assert set(Counter(key for key, _ in found).values()) == {10}
    assert len({key for key, _ in found[: drain.SIDE_BY_SIDE]}) == drain.SIDE_BY_SIDE
