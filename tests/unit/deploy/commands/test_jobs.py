"""Operators see which job has stopped for good and why, and let it go on."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.commands import jobs
from deploy.commands.__main__ import main
from deploy.errors import Failed
from deploy.flink import stopped
from deploy.flink.stopped import StoppedJob
from operators.connectors.memory.catalog import MemoryProgress
from operators.stream.step import Stop
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from tests.support.machine.flink_rest import DescribedJob, flink_rest
from tests.support.machine.processes import free_port
from tests.unit.pipelines.launch.test_losses import Broker

STOPPED = StoppedJob("catalog", Stop("unknown-schema", "x/1 at offset 7: no schema"), datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    """Make commands read the settings of a cluster whose checkpoints lie in a folder of the test."""
    monkeypatch.setenv("FLUORO_BROKER_BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("FLUORO_JOB_CHECKPOINT_DIR", str(tmp_path))
    return JobSettings(checkpoint_dir=tmp_path)


def test_without_a_stopped_job_the_list_says_so(settings: JobSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings.checkpoint_dir.exists()
    assert main(["jobs", "list"]) == 0
    assert capsys.readouterr().out == "No job has stopped.\n"


def test_a_stopped_job_is_listed_with_what_to_do(settings: JobSettings, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.write(STOPPED, settings)

    assert main(["jobs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["job", "catalog"],
        ["since", "2026-03-01 00:00:00Z"],
        ["reason", "unknown-schema"],
        ["why", "x/1 at offset 7: no schema"],
        ["do", STOPPED.advice],
    ]


def test_programs_read_the_list_as_json(settings: JobSettings, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.write(STOPPED, settings)

    assert main(["jobs", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "unknown-schema"


def test_a_job_is_resumed_once(settings: JobSettings, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.write(STOPPED, settings)

    assert main(["jobs", "resume", "catalog"]) == 0
    assert stopped.stopped_jobs(settings) == {}
    assert main(["jobs", "resume", "catalog"]) == 1
    assert "job catalog has not stopped" in capsys.readouterr().err


class Writers(MemoryProgress):
    """The progress of a catalog to which a job is connected."""

    def writers(self) -> int:
        return 2


def test_shards_are_not_changed_while_the_job_runs_on_this_machines_flink(settings: JobSettings) -> None:
    servers = Servers(Broker(), MemoryProgress())
    with flink_rest(DescribedJob("catalog", "RESTARTING")) as port, pytest.raises(Failed, match=f"RESTARTING .*{port}"):
        jobs.refuse_while_running(replace(settings, rest_port=port), servers)
    with flink_rest(DescribedJob("catalog", "FINISHED"), DescribedJob("study")) as port:
        jobs.refuse_while_running(replace(settings, rest_port=port), servers)


def test_shards_are_not_changed_while_a_job_elsewhere_is_connected_to_the_catalog(settings: JobSettings) -> None:
    elsewhere = replace(settings, rest_port=free_port())
    jobs.refuse_while_running(elsewhere, Servers(Broker(), MemoryProgress()))

    with pytest.raises(Failed, match="2 connections"):
        jobs.refuse_while_running(elsewhere, Servers(Broker(), Writers()))


@pytest.mark.parametrize("number", ["0", "129", "many"])
def test_an_impossible_number_of_shards_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["jobs", "reshard", number])

    assert ended.value.code == 2
    assert "FLUORO_JOB_SHARDS: should be" in capsys.readouterr().err
