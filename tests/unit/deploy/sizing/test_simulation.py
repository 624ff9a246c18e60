"""The simulation does what queues do: nobody waits below what the parts carry, and above it nothing is lost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sizing import costs
from deploy.sizing.load import Load, Study, studies_at
from deploy.sizing.plan import Plan, plan_for
from deploy.sizing.simulation import Course, association_rate, at_share, simulate

LOAD = Load()
PLAN = plan_for(LOAD, LOAD.burst_rate)
ONE_CORE = Plan({part.name: 1 for part in costs.PARTS}, shards=1)


def course(studies: Sequence[Study], plan: Plan = PLAN) -> Course:
    return simulate(studies, LOAD, plan)


def test_one_study_alone_waits_for_nobody() -> None:
    alone = course([Study(0.5, 200)])

    assert alone.waits_s == [pytest.approx(0, abs=1e-6)]
    assert alone.lag_s(1.0) == costs.LONE_RECORD_S


def test_a_plan_for_a_rate_carries_it_without_waiting() -> None:
    half = course(list(studies_at(LOAD.burst_rate, 600, LOAD, seed=3)))

    assert half.wait_s(0.99) < 1
    assert max(half.highest.values()) < 0.9


def test_more_than_the_cores_carry_makes_senders_wait_and_loses_nothing() -> None:
    studies = list(studies_at(LOAD.busiest_rate, 240, LOAD, seed=1))
    slow = course(studies, ONE_CORE)

    assert len(slow.waits_s) == len(studies)
    assert sum(records for records, _ in slow.lags) == pytest.approx(sum(study.instances for study in studies))
    assert slow.wait_s(0.5) > 60
    assert max(slow.highest, key=lambda name: slow.highest[name]) == "object store"


def test_a_large_study_waits_for_its_shard_although_others_are_free() -> None:
    many = [Study(0.0, 2_000)] * 200
    plan = Plan({part.name: 1000 for part in costs.PARTS}, shards=2)

    assert course(many, plan).lag_s(1.0) > 10
    assert course(many, replace(plan, shards=400)).lag_s(1.0) < 10


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 300), st.integers(1, 2000)), min_size=1, max_size=20))
def test_every_study_is_sent_and_every_record_is_cataloged_once(given_studies: list[tuple[float, int]]) -> None:
    studies = [Study(at_s, instances) for at_s, instances in sorted(given_studies)]
    done = course(studies, ONE_CORE)

    assert len(done.waits_s) == len(studies)
    assert sum(records for records, _ in done.lags) == pytest.approx(sum(study.instances for study in studies))
    assert all(0 <= share <= 1 for share in done.highest.values())


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 100)), min_size=1))
def test_a_value_at_a_share_grows_with_the_share(weighed: list[tuple[float, float]]) -> None:
    values = [at_share(weighed, share) for share in (0.0, 0.25, 0.5, 0.99, 1.0)]

    assert all(lower <= higher for lower, higher in pairwise(values))
    assert values[-1] <= max(value for _, value in weighed)


def test_larger_instances_come_slower_over_an_association() -> None:
    assert association_rate(LOAD) > association_rate(replace(LOAD, megabytes=2000))
