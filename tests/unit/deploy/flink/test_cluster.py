"""The launcher logs a job's failure once, and goes on from an older checkpoint or stops."""

import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from deploy.flink import cluster as launcher
from deploy.flink import stopped
from deploy.flink.cluster import (
    Launch,
    NotHealthy,
    begun_at_rows,
    recovered,
    still_going,
    until_healthy,
    waited,
    with_failure_logged,
    with_resumed,
    without_stopped,
)
from deploy.flink.folder import ClusterFolder
from deploy.flink.minicluster import MiniCluster
from deploy.flink.rest import JobState
from operators.connectors.memory.catalog import MemoryProgress
from operators.stream.step import Stop
from pipelines.jobs import CATALOG, STUDY, Job
from pipelines.launch.checkpoints import folder_of
from pipelines.launch.rows import Servers
from pipelines.launch.start import RunningJob
from schemas.settings.jobs import JobSettings
from tests.unit.pipelines.launch.test_checkpoints import write
from tests.unit.pipelines.launch.test_losses import Broker
from tests.unit.pipelines.launch.test_start import gone_back

UNREADABLE = (
    "org.apache.flink.FlinkException: x\nCaused by: java.lang.Exception: while creating StreamOperatorStateContext"
)
RESTARTING = JobState("study", "RESTARTING", is_running=False, failed_at_ms=1000, failure=UNREADABLE)
FAILED = replace(RESTARTING, state="FAILED")
OLDER = (Path("/data/study/thread/a/chk-2"), Path("/data/study/thread/a/chk-1"))
RUNNING = RunningJob(STUDY, "first", OLDER)
LONG_S = 600.0
SERVERS = Servers(Broker(), MemoryProgress())
STOPPED = replace(FAILED, failure="x\nCaused by: fluoro.KafkaRecords$JobStopped: too-many-rejected: at offsets x/1 0-9")


WENT_BACK = replace(FAILED, failure="x\nCaused by: fluoro.KafkaRecords$JobStopped: catalog-went-back: rows are behind")


class Cluster(MiniCluster):
    """A cluster in memory, which takes every job."""

    def __init__(self) -> None:
        self.submitted: list[Path | None] = []
        self.cancelled: list[str] = []

    def submit(self, _job: Job, _settings: JobSettings, _sections: tuple[Any, ...], checkpoint: Path | None) -> str:
        self.submitted.append(checkpoint)
        return "second"

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    settings = JobSettings(checkpoint_dir=tmp_path / "checkpoints")
    environ = {"FLUORO_JOB_CHECKPOINT_DIR": str(settings.checkpoint_dir)}
    return Launch((STUDY, CATALOG), ClusterFolder(tmp_path, tmp_path), settings, environ, threading.Event(), SERVERS)


def test_a_job_that_cannot_read_its_checkpoint_goes_on_from_the_one_before(launch: Launch) -> None:
    cluster = Cluster()

    assert recovered(launch, cluster, RUNNING, RESTARTING) == RunningJob(STUDY, "second", OLDER[1:])
    assert (cluster.submitted, cluster.cancelled) == ([OLDER[0]], ["first"])


def test_a_job_that_has_ended_is_not_cancelled_before_it_goes_on(launch: Launch) -> None:
    cluster = Cluster()
    recovered(launch, cluster, RUNNING, FAILED)

    assert cluster.cancelled == []


def test_a_job_without_an_older_checkpoint_stops_the_launcher(launch: Launch) -> None:
    with pytest.raises(NotHealthy, match="job study is FAILED"):
        recovered(launch, Cluster(), replace(RUNNING, older=()), FAILED)


def test_a_job_that_restarts_for_another_reason_is_left_to_flink(launch: Launch) -> None:
    cluster = Cluster()
    state = replace(RESTARTING, failure="java.net.ConnectException: refused")

    assert recovered(launch, cluster, RUNNING, state) == RUNNING
    assert cluster.submitted == []


def test_a_failure_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    once = with_failure_logged(RUNNING, RESTARTING)
    with_failure_logged(once, RESTARTING)

    assert capsys.readouterr().out.count("job_failed") == 1


def test_a_job_that_restarts_is_still_going() -> None:
    assert still_going(RUNNING, RESTARTING) == RUNNING


def test_a_job_that_has_stopped_is_left_out_and_does_not_end_the_others(
    launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = (RunningJob(CATALOG, "other"), replace(RESTARTING, name="catalog"))

    assert without_stopped(launch, [(RUNNING, STOPPED), other]) == [other]
    assert stopped.stopped_jobs(launch.settings)["study"].stop == Stop("too-many-rejected", "at offsets x/1 0-9")
    assert "jobs resume study" in capsys.readouterr().out
    assert REGISTRY.get_sample_value("fluoro_job_stopped", {"job_name": "study"}) == 1
    assert REGISTRY.get_sample_value("fluoro_job_stopped", {"job_name": "catalog"}) == 0


def test_a_job_that_has_stopped_is_submitted_only_once_it_is_resumed(launch: Launch) -> None:
    cluster, other = Cluster(), RunningJob(CATALOG, "other")
    without_stopped(launch, [(RUNNING, STOPPED)])

    assert with_resumed(launch, cluster, [other]) == [other]
    stopped.resume("study", launch.settings)
    assert with_resumed(launch, cluster, [other]) == [other, RunningJob(STUDY, "second")]
    assert len(cluster.submitted) == 1


def test_a_catalog_whose_database_went_back_is_submitted_again_at_once_at_its_rows(launch: Launch) -> None:
    went_back, cluster = replace(launch, servers=Servers(Broker(), gone_back())), Cluster()
    write(folder_of(CATALOG, launch.settings), "a", 1, 100)
    running, catalog = RunningJob(STUDY, "first"), RunningJob(CATALOG, "second")
    states = [(running, replace(RESTARTING, state="RUNNING")), (catalog, replace(WENT_BACK, name="catalog"))]
    left = [submitted for submitted, _ in without_stopped(went_back, states)]

    assert [submitted.job for submitted in with_resumed(went_back, cluster, left)] == [STUDY, CATALOG]
    assert cluster.submitted == [None]


def test_a_running_catalog_job_is_cancelled_before_it_begins_at_its_rows(launch: Launch) -> None:
    cluster = Cluster()
    running = [RunningJob(STUDY, "first"), RunningJob(CATALOG, "second")]
    begun = begun_at_rows(launch, cluster, running)

    assert [submitted.job for submitted in begun] == [STUDY, CATALOG]
    assert (cluster.cancelled, cluster.submitted) == (["second"], [None])


@pytest.fixture
def seldom_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the JVM often in a wait that is long."""
    monkeypatch.setattr(launcher, "ALIVE_S", 0.01)


@pytest.mark.usefixtures("seldom_watched")
def test_the_end_of_the_jvm_is_noticed_long_before_the_jobs_are_asked_for_again() -> None:
    with subprocess.Popen(["true"]) as machine, pytest.raises(NotHealthy, match="ended with status 0"):
        waited(threading.Event(), machine, LONG_S)


@pytest.mark.usefixtures("seldom_watched")
def test_the_end_of_the_jvm_is_noticed_at_once_while_jobs_start(launch: Launch) -> None:
    with subprocess.Popen(["true"]) as machine, pytest.raises(NotHealthy, match="ended with status 0"):
        until_healthy(launch, Cluster(), [RUNNING], machine)


@pytest.mark.usefixtures("seldom_watched")
def test_a_launcher_that_is_asked_to_stop_waits_no_longer() -> None:
    stopping = threading.Event()
    stopping.set()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as machine:
        assert not waited(stopping, machine, LONG_S)


def test_the_jobs_are_asked_for_again_after_a_while() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as machine:
        assert waited(threading.Event(), machine, 0.01)
