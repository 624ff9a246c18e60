"""The jobs' JVM dies at each point of the catalog job's flush: every instance has one row, every revision one event."""

from pathlib import Path

import pytest

from deploy.local.running import wait_until
from pipelines.streaming.failpoints import POINTS
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import INSTANCES, Healing
from tests.support.faults.stopped_jobs import wait_for_jobs
from tests.support.proof import Proof

SOON_S, RECOVERY_S = 30.0, 60.0
HOW = "the jobs' JVM dies {point} of a batch"
SMALL = "before_commit"


def cases() -> list[object]:
    rows = {point: pytest.mark.fault("F18", HOW, full=point != SMALL) for point in POINTS}
    return [pytest.param(point, marks=mark, id=point) for point, mark in rows.items()]


@pytest.mark.parametrize("point", cases())
def test_a_job_that_dies_at_any_point_of_a_flush_loses_and_doubles_nothing(
    point: str, proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    paths = files(Volume(studies=3, slices=INSTANCES // 3, size=64, seed=900 + POINTS.index(point)), tmp_path)
    failpoint, before = Path(proof.archive.plan.job.failpoint_file), proof.archive.state().servers["flink"]

    failpoint.write_text(point)
    try:
        tally = proof.send(paths)
        wait_until(lambda: not failpoint.exists(), SOON_S, "no batch has reached the point")
    finally:
        # Otherwise a job would die in another test.
        failpoint.unlink(missing_ok=True)
    with healing.timed():
        wait_until(lambda: proof.archive.has_changed("flink", before), SOON_S, "the JVM has not died")
        wait_for_jobs(proof.archive)

    assert tally.complete, tally
    assert healing.audited(proof.wrong()) == {}
    assert healing.seconds is not None
    assert healing.seconds < RECOVERY_S
