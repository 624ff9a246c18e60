"""People read where a stack is reached, what its servers hold, and how they are."""

import os
import re
from dataclasses import replace

import pytest

from deploy.install import layout
from deploy.local import report
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack
from deploy.local.stack import Stack
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process
from deploy.local.supervision.stack_state import ServerState, StackState

PORTS = {"dimse": 11112, "web": 8060, "flink": 8081, "kafka": 4, "minio": 5, "postgres": 6, "gateway-metrics": 7}


def stack_of(folder: DataFolder, **environ: str) -> Stack:
    return Stack(layout.here({"FLUORO_CACHE": "/nonexistent"}), folder, PORTS, environ, None)


def state_of(**servers: ServerState) -> StackState:
    return StackState("run", processes.boot_id(), processes.identify(os.getpid()), servers)


def test_every_address_has_a_line(folder: DataFolder) -> None:
    assert report.addresses(stack_of(folder, FLUORO_DIMSE_AE_TITLE="NORTH", FLUORO_DIMSE_HOST="127.0.0.1")) == [
        "  DIMSE     127.0.0.1 port 11112, AE title NORTH",
        "  DICOMweb  http://127.0.0.1:8060/dicomweb",
        "  Kafka     127.0.0.1:4",
        "  Catalog   PostgreSQL on 127.0.0.1 port 6",
        "  Store     http://127.0.0.1:5",
        "  Flink UI  http://127.0.0.1:8081",
        f"  Metrics   listed in {folder.root}/metrics-targets.json",
    ]


def test_the_memory_of_each_server_and_their_sum_are_in_megabytes(folder: DataFolder) -> None:
    us, nobody = processes.identify(os.getpid()), Process(os.getpid(), 0)
    state_of(
        web=ServerState(us, is_healthy=True, starts=1), kafka=ServerState(nobody, is_healthy=False, starts=2)
    ).write(folder.state)
    line = report.memory(RunningStack(folder))
    found = re.fullmatch(r"  memory    (\d+) MB resident \(web (\d+), kafka 0\)", line)

    assert found, line
    assert found[1] == found[2] != "0"


def test_each_server_has_a_line_with_its_health_its_process_and_its_starts() -> None:
    state = state_of(
        web=ServerState(Process(17, 1), is_healthy=True, starts=1),
        postgres=ServerState(Process(18, 1), is_healthy=False, starts=3),
    )

    assert report.servers(state) == [
        "  web       healthy, process 17, started once",
        "  postgres  not healthy, process 18, started 3 times",
    ]


def test_a_server_that_is_not_healthy_is_a_problem() -> None:
    well, ill = ServerState(Process(17, 1), is_healthy=True, starts=1), ServerState(Process(18, 1), False, 3)

    assert report.problems(state_of(web=well, postgres=ill)) == ["postgres is not healthy"]


def test_the_watchdog_has_a_line_with_its_starts() -> None:
    watchdog = ServerState(Process(19, 1), is_healthy=True, starts=2)

    assert report.servers(replace(state_of(), watchdog=watchdog)) == [
        "  watchdog  healthy, process 19, started 2 times"
    ]


def test_a_stack_without_servers_has_no_line() -> None:
    assert report.servers(state_of()) == []


def test_what_is_said_is_a_line_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    report.say("ready")

    assert capsys.readouterr() == ("ready\n", "")
