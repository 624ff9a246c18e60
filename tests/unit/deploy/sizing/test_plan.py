"""A plan grows with the load, and leaves a reserve."""

from dataclasses import replace

import pytest

from deploy.sizing.load import Load
from deploy.sizing.plan import cores_for, disks_for, plan_for, read_cores

LOAD = Load()


def test_a_plan_grows_with_the_rate_and_leaves_a_reserve() -> None:
    low, high = plan_for(LOAD, LOAD.mean_rate), plan_for(LOAD, LOAD.burst_rate)

    assert all(low.cores[name] <= high.cores[name] for name in low.cores)
    assert low.shards <= high.shards
    assert cores_for(0.6) == 1
    assert cores_for(0.7) == 2


def test_disks_and_readers_grow_with_the_load() -> None:
    more = replace(LOAD, studies_a_day=2 * LOAD.studies_a_day, viewers=2 * LOAD.viewers)

    assert disks_for(more).objects == pytest.approx(2 * disks_for(LOAD).objects)
    assert sum(cores for _, _, cores in read_cores(more)) > sum(cores for _, _, cores in read_cores(LOAD))
