"""People read of each job whether it runs, since when, how often it was restarted, and why it last failed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.flink import stopped
from deploy.flink.stopped import StoppedJob
from deploy.local import jobs
from operators.stream.step import Stop
from schemas.settings.jobs import JobSettings
from tests.support.machine.flink_rest import DescribedJob, flink_rest
from tests.support.machine.processes import free_port

SINCE = datetime(2026, 11, 29, 19, 2, 11, tzinfo=UTC)
SINCE_MS = int(SINCE.timestamp() * 1000)
STUDY = DescribedJob("study", since_ms=SINCE_MS)
CATALOG = DescribedJob("catalog", since_ms=SINCE_MS)
FAILURE = "org.apache.flink.FlinkException: x\nCaused by: java.net.ConnectException: refused MUELLER^HANS"


def reported(folder: Path, *found: DescribedJob) -> jobs.JobsReport:
    with flink_rest(*found) as port:
        return jobs.report(JobSettings(rest_port=port, checkpoint_dir=folder))


def test_each_job_has_a_line_with_its_state_since_when_and_its_restarts(tmp_path: Path) -> None:
    report = reported(tmp_path, STUDY, CATALOG)

    assert report.lines == (
        "  study     RUNNING since 2026-11-29 19:02:11 UTC, never restarted",
        "  catalog   RUNNING since 2026-11-29 19:02:11 UTC, never restarted",
    )
    assert report.problems == ()


def test_a_job_that_restarts_is_a_problem_and_the_causes_are_classes_of_errors(tmp_path: Path) -> None:
    restarting = DescribedJob("catalog", "RESTARTING", SINCE_MS, ("CANCELED",), restarts=3, failure=FAILURE)
    report = reported(tmp_path, STUDY, restarting)

    assert report.lines[1] == (
        "  catalog   RESTARTING since 2026-11-29 19:02:11 UTC, restarted 3 times; last failure 2026-11-29 19:02:11 UTC:"
        " org.apache.flink.FlinkException <- java.net.ConnectException"
    )
    assert report.problems == ("job catalog is RESTARTING",)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ((STUDY,), "job catalog is not there"),
        ((STUDY, DescribedJob("catalog", tasks=("RUNNING", "INITIALIZING"))), "job catalog is starting"),
        ((STUDY, DescribedJob("catalog", "FAILED", SINCE_MS)), "job catalog is FAILED"),
    ],
)
def test_a_job_that_does_not_run_is_a_problem(tmp_path: Path, found: tuple[DescribedJob, ...], problem: str) -> None:
    assert reported(tmp_path, *found).problems == (problem,)


def test_the_newest_of_several_jobs_of_one_name_counts(tmp_path: Path) -> None:
    before = DescribedJob("catalog", "CANCELED", SINCE_MS - 1000, ("CANCELED",))

    assert reported(tmp_path, STUDY, CATALOG, before).problems == ()


def test_a_job_that_has_stopped_for_good_is_named_with_its_reason(tmp_path: Path) -> None:
    stopped.write(
        StoppedJob("study", Stop("too-many-rejected", "1,000 in a row"), SINCE), JobSettings(checkpoint_dir=tmp_path)
    )
    report = reported(tmp_path, CATALOG)

    assert report.lines[0] == "  study     stopped for good since 2026-11-29 19:02:11 UTC: too-many-rejected"
    assert report.problems == ("job study has stopped for good: python -m deploy.commands jobs list",)


def test_a_cluster_that_does_not_answer_is_one_problem(tmp_path: Path) -> None:
    report = jobs.report(JobSettings(rest_port=free_port(), checkpoint_dir=tmp_path))

    assert report == jobs.JobsReport((), ("the jobs' cluster does not answer",))
