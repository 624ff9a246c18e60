"""The local stack: it starts, survives the loss of each server, and leaves nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from deploy.install.layout import Layout
from deploy.install.preflight import GIB, is_port_free
from deploy.local import jobs
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, wait_until
from deploy.local.servers import health
from deploy.local.supervision import processes, takeover
from deploy.local.supervision.programs import ROOT
from deploy.local.supervision.stack_state import StackState
from schemas.settings.servers import CatalogSettings
from tests.support.machine.running_stack import processes_of

SERVERS = ("postgres", "kafka", "minio", "flink", "gateway", "web", "verify")


def execute(catalog: CatalogSettings, statement: str) -> list[Any]:
    with psycopg.connect(
        host=catalog.host,
        port=catalog.port,
        dbname=catalog.database,
        user=catalog.user,
        password=catalog.password,
        connect_timeout=5,
    ) as connection:
        cursor = connection.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def command(data: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return run(data, "deploy.local", *words, **settings)


def run(data: Path, module: str, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        env={**clean_environ(), "FLUORO_DATA": str(data), **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_server_is_healthy_and_the_web_answers(stack: RunningStack) -> None:
    state = stack.state()
    status, _ = health.get(stack.plan.api.port, "/healthz")

    assert state.is_ready
    assert {name for name, server in state.servers.items() if server.is_healthy} == set(SERVERS)
    assert status == 200


def test_the_whole_stack_takes_at_most_four_gibibytes_of_memory(stack: RunningStack) -> None:
    held = stack.rss_bytes()

    assert set(held) == set(SERVERS)
    assert sum(held.values()) <= 4 * GIB


@pytest.mark.parametrize("role", ["owner", "writer", "reader"])
def test_each_role_connects_to_the_catalog_under_its_own_name(stack: RunningStack, role: str) -> None:
    rows = execute(stack.catalog(role), "SELECT current_user, count(*) >= 0 FROM study")

    assert rows == [(role, True)]


def test_the_reader_cannot_write(stack: RunningStack) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(stack.catalog("reader"), "DELETE FROM study")


def test_no_secret_is_on_a_command_line(stack: RunningStack) -> None:
    secrets = [path.read_bytes() for path in (stack.folder.root / "secrets").iterdir()]
    heads = [server.process for server in stack.state().servers.values()]
    lines = [Path(f"/proc/{stat.process.pid}/cmdline").read_bytes() for stat in processes.family(heads)]

    assert len(secrets) >= 5
    assert not [line for line in lines if any(secret in line for secret in secrets)]


@pytest.mark.parametrize("words", [("up",), ("up", "--free-ports"), ("clean-data",)])
def test_a_running_stacks_data_can_be_neither_started_again_nor_cleaned(
    stack: RunningStack, words: tuple[str, ...]
) -> None:
    done = command(stack.folder.root, *words)

    assert done.returncode == 1
    assert done.stderr.startswith("a stack runs on ")
    assert len(done.stderr.splitlines()) == 1


def test_status_names_every_server_and_job(stack: RunningStack) -> None:
    done = command(stack.folder.root, "status")

    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in (*SERVERS, "watchdog", "study", "catalog"))


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_is_started_again(stack: RunningStack, name: str) -> None:
    before = stack.state().servers[name]
    stack.kill(name)
    stack.wait_healthy(name, 120)
    after = stack.state().servers[name]

    assert after.process != before.process
    assert after.starts == before.starts + 1
    assert not before.process.is_alive()


def command_line(pid: int) -> bytes:
    """Return the command of a process; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_broker_has_mapped_the_archive_of_its_classes(stack: RunningStack) -> None:
    archive = stack.plan.layout.kafka_classes
    if not archive.exists():
        pytest.skip("no archive; run make install")
    (broker,) = processes_of(stack, "kafka")

    assert str(archive.resolve()) in {one.path for one in broker.memory_maps()}


def test_the_jobs_have_mapped_the_archive_of_their_classes(stack: RunningStack) -> None:
    archive = stack.plan.layout.flink_classes
    if not archive.exists():
        pytest.skip("no archive; run make install")
    (machine,) = [one for one in processes_of(stack, "flink") if one.name() == "java"]

    assert str(archive.resolve()) in {one.path for one in machine.memory_maps()}


def catalog_workers(stack: RunningStack) -> list[psutil.Process]:
    """Return the processes that run the Python of the catalog job."""
    return [one for one in processes_of(stack, "flink") if is_worker(one)]


def is_worker(process: psutil.Process) -> bool:
    """True if a process runs the Python of a job; one that has just ended does not."""
    try:
        return "pyflink.fn_execution.beam.beam_boot" in process.cmdline()
    except psutil.Error:
        return False


def test_the_demo_succeeds_with_a_new_study_each_time(stack: RunningStack) -> None:
    done = [run(stack.folder.root, "deploy.demo", "--once") for _ in range(2)]

    assert [demo.returncode for demo in done] == [0, 0], done[0].stderr + done[1].stderr
    assert all("Every step succeeded" in demo.stdout for demo in done)


def test_the_demo_shows_a_late_image_a_deletion_and_the_history_of_its_study(stack: RunningStack) -> None:
    done = run(stack.folder.root, "deploy.demo", "--once")
    shown = (
        "revision 1, 99 instances",
        "one more image of study",
        "revision 2, 100 instances",
        "revision 3, 0 instances",
        "deleted by a command: the study is not found any more",
        "revision 4, 100 instances",
        "restored by a command: the study is found again, with its 100 instances",
        "The history of the study",
        "99 instances, ",
        "made revision 1",
        "1 instance, ",
        "made revision 2",
        "delete, asked for by loopback",
        "restore, asked for by loopback",
    )

    # A long sentence of the history goes on in the next line.
    printed = " ".join(done.stdout.split())
    at = 0
    for words in shown:
        at = printed.find(words, at)
        assert at >= 0, f"{words!r} is missing, or comes too early: {done.stdout}{done.stderr}"


@pytest.fixture
def own_folder(installed: Layout) -> Iterator[Path]:
    """A folder for a stack of its own."""
    assert installed
    with new_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def other(installed: Layout) -> Iterator[RunningStack]:
    """A second stack, whose jobs run their Python in processes of their own."""
    assert installed
    env = clean_environ() | {"FLUORO_JOB_PYTHON_MODE": "process"}
    with (
        new_folder() as folder,
        brought_up(DataFolder(folder / "data"), env, options=("--free-ports",), out=folder / "up.log") as started,
    ):
        yield started


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder for the block that the database's user can reach, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="fluoro-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def clean_environ() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith("FLUORO_") or name == "FLUORO_CACHE"
    }


def test_two_stacks_run_at_the_same_time(stack: RunningStack, other: RunningStack) -> None:
    assert (stack.state().is_ready, other.state().is_ready) == (True, True)
    assert not set(other.plan.ports.values()) & set(stack.plan.ports.values())


def test_an_idle_job_whose_worker_was_killed_runs_with_a_new_one_before_any_record(other: RunningStack) -> None:
    (worker,) = catalog_workers(other)
    before, starts = jobs.report(other.plan.job), other.state().servers["flink"].starts

    worker.kill()
    wait_until(lambda: catalog_workers(other) not in ([], [worker]), 60, "the worker has no successor")
    wait_until(lambda: not jobs.report(other.plan.job).problems, 30, "the job does not run")

    assert before.problems == ()
    assert other.state().servers["flink"].starts == starts


def test_a_supervisor_and_a_watchdog_killed_at_once_leave_no_server_and_the_next_start_ends_the_rest(
    other: RunningStack,
) -> None:
    # The other stack ends here, so this is the last of its tests.
    state = other.state()
    assert state.watchdog
    for one in (state.watchdog.process, state.supervisor):
        os.kill(one.pid, signal.SIGKILL)
    # The kernel ends the servers, and they what they have started, save for an idle Python worker of a job.
    wait_until(lambda: not servers_left(state), 30, "a server is left")
    with takeover.hold(other.folder):
        takeover.end_leftovers(other.folder)

    assert not processes.marked(f"{state.run_id}/")


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_finds_the_data(own_folder: Path) -> None:
    folder, options = DataFolder(own_folder / "data"), ("--free-ports",)
    with brought_up(folder, clean_environ(), options=options, out=own_folder / "first.log") as first:
        execute(first.catalog("owner"), "CREATE TABLE kept AS SELECT 1 AS number")
        ports, state = first.plan.ports, first.state()
        os.kill(state.supervisor.pid, signal.SIGKILL)
        wait_until(lambda: nothing_left(folder, state, ports), 15, "something is left of a killed supervisor")
    with brought_up(folder, clean_environ(), options=options, out=own_folder / "second.log") as second:
        rows = execute(second.catalog("reader"), "SELECT 1 FROM pg_tables WHERE tablename = 'kept'")
        same_ports = second.plan.ports == ports
    cleaned = command(folder.root, "clean-data")

    assert rows == [(1,)]
    assert same_ports
    assert cleaned.returncode == 0
    assert not folder.root.exists()


def servers_left(state: StackState) -> list[bytes]:
    """Return the commands of what a run has left, without those of Flink's Python workers."""
    lines = [command_line(process.pid) for process in processes.marked(f"{state.run_id}/")]
    return [
        line
        for line in lines
        if line and not any(word in line for word in (b"pyflink-udf-runner", b"beam_boot", b"udf-boot.log"))
    ]


def nothing_left(folder: DataFolder, state: StackState, ports: Mapping[str, int]) -> bool:
    processes_left = processes.marked(f"{state.run_id}/") or processes.family(s.process for s in state.servers.values())
    leftovers = [path for parent in folder.temporary() if parent.exists() for path in parent.iterdir()]
    return not processes_left and not leftovers and all(is_port_free(port) for port in ports.values())


def test_a_taken_port_is_reported_in_one_line(own_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = {"FLUORO_API_PORT": "0", "FLUORO_JOB_REST_PORT": "0"}
        done = command(own_folder / "data", "up", FLUORO_DIMSE_PORT=str(port), **others)

    assert done.returncode == 1
    assert done.stderr.startswith(f"port {port} (DIMSE) is taken: ")
    assert len(done.stderr.splitlines()) == 1
