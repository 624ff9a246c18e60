"""The studies of a load are what it says."""

import pytest

from deploy.sizing.load import Load, studies_at

LOAD = Load()


def test_studies_have_the_loads_mean_and_come_at_its_rate() -> None:
    studies = list(studies_at(LOAD.burst_rate, 3600, LOAD, seed=1))
    instances = sum(study.instances for study in studies)

    assert instances / len(studies) == pytest.approx(LOAD.instances, rel=0.05)
    assert instances / 3600 == pytest.approx(LOAD.burst_rate, rel=0.05)
    assert studies == list(studies_at(LOAD.burst_rate, 3600, LOAD, seed=1))
