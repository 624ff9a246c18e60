"""A supervisor starts servers in order, restarts them, gives up on one that never becomes healthy, and stops all."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable

import pytest

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision import supervisor as module
from deploy.local.supervision.programs import Program, ServerProgram, SetupProgram, mark
from deploy.local.supervision.supervisor import EARLIER_LOGS, Supervisor, earlier, trim
from operators import restarts
from operators.restarts import MAX_STARTS

BOUND_S = 20.0
SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
# A child with a child of its own in another session, as a server's start script may make one.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"


def server(name: str, code: str = SLEEPER, **options: object) -> ServerProgram:
    defaults: dict[str, object] = {"check_health": lambda: None, "env": dict(os.environ), "stop_s": 1.0}
    return ServerProgram(name=name, command=(sys.executable, "-c", code), **defaults | options)  # type: ignore[arg-type]


def supervise(
    folder: DataFolder, *programs: Program, then: Callable[[Supervisor], Awaitable[None]] | None = None
) -> list[str]:
    """Run the programs until they are ready and `then` has returned; return the lines that were printed."""
    lines: list[str] = []

    async def run() -> None:
        stop = asyncio.Event()
        supervisor = Supervisor(folder, programs, lines.append)

        async def ready() -> None:
            await (then(supervisor) if then else asyncio.sleep(0))
            stop.set()

        await supervisor.run(stop, ready)

    asyncio.run(asyncio.wait_for(run(), BOUND_S))
    return lines


async def until_async(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, BOUND_S, "the condition was not met")


def test_a_server_that_dies_is_started_again(folder: DataFolder) -> None:
    pids: list[int] = []

    async def kill(supervisor: Supervisor) -> None:
        pids.append(supervisor.servers["one"].process.pid)
        os.kill(pids[0], signal.SIGKILL)
        await until_async(lambda: supervisor.servers["one"].is_healthy and supervisor.servers["one"].starts == 2)
        pids.append(supervisor.servers["one"].process.pid)

    lines = supervise(folder, server("one"), then=kill)

    assert pids[0] != pids[1]
    assert any("one was killed by SIGKILL" in line for line in lines)


def test_the_descendants_of_a_dead_server_end_before_it_starts_again(folder: DataFolder) -> None:
    left: list[tuple[processes.Process, ...]] = []

    async def kill(supervisor: Supervisor) -> None:
        await until_async(lambda: len(processes.marked(mark(supervisor.run_id, "one"))) == 2)
        before = processes.marked(mark(supervisor.run_id, "one"))
        os.kill(supervisor.servers["one"].process.pid, signal.SIGKILL)
        await until_async(lambda: supervisor.servers["one"].starts == 2)
        left.append(tuple(process for process in before if process.is_alive()))

    supervise(folder, server("one", PARENT), then=kill)

    assert left == [()]


def test_a_server_that_never_becomes_healthy_is_named_after_five_starts(folder: DataFolder) -> None:
    dying = server("broken", "print('no licence'); raise SystemExit(3)", check_health=lambda: "deaf")

    with pytest.raises(Failed) as failure:
        supervise(folder, dying, server("good"))

    assert str(failure.value).startswith("broken ended with status 3")
    assert (folder.root / "logs" / "broken.log").read_text().count("no licence") == MAX_STARTS
    assert "  no licence" in str(failure.value).splitlines()


def test_a_server_that_was_healthy_once_is_tried_until_it_is_so_again(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "MAX_BACK_OFF_S", restarts.BACK_OFF_S)
    lacking = folder.root / "lacking"
    code = f"import pathlib, sys\nif pathlib.Path({str(lacking)!r}).exists(): sys.exit('no disk')\n{SLEEPER}"

    async def take_its_disk_away(supervisor: Supervisor) -> None:
        lacking.touch()
        os.kill(supervisor.servers["one"].process.pid, signal.SIGKILL)
        await until_async(lambda: supervisor.servers["one"].starts > MAX_STARTS + 2)
        lacking.unlink()
        await until_async(lambda: supervisor.servers["one"].is_healthy)

    one = server("one", code, check_health=lambda: "no disk" if lacking.exists() else None)
    lines = supervise(folder, one, then=take_its_disk_away)

    assert any(f"{MAX_STARTS} starts in a row without becoming healthy" in line for line in lines)
    assert any(line.endswith("  no disk") for line in lines)


def test_a_server_that_cannot_use_its_settings_is_started_once(folder: DataFolder) -> None:
    dying = server("broken", "print('too few shards'); raise SystemExit(2)", check_health=lambda: "deaf")

    with pytest.raises(Failed, match=r"(?s)^broken ended with status 2\. .*too few shards$"):
        supervise(folder, dying, server("good"))
    assert (folder.root / "logs" / "broken.log").read_text().count("too few shards") == 1


def test_a_server_that_is_not_healthy_in_time_is_named_with_its_problem(folder: DataFolder) -> None:
    with pytest.raises(Failed, match=r"deaf was not healthy within 0 s: port 1 is silent"):
        supervise(folder, server("deaf", ready_s=0.1, check_health=lambda: "port 1 is silent"))


def test_a_failing_setup_stops_everything_and_is_named(folder: DataFolder) -> None:
    setup = SetupProgram(
        name="format", command=(sys.executable, "-c", "raise SystemExit('disk is bad')"), needs=("one",)
    )

    with pytest.raises(Failed, match="format ended with status 1") as failure:
        supervise(folder, server("one"), setup)

    assert "disk is bad" in str(failure.value)
    assert not folder.state.exists()


def test_a_server_starts_after_what_it_needs_and_stops_before_it(folder: DataFolder) -> None:
    order = folder.root / "order"
    code = textwrap.dedent("""
        import signal, sys, time
        def note(what):
            with open(sys.argv[1], "a") as file: file.write(f"{what} {sys.argv[2]}\\n")
        def stop(*_): note("stop"); sys.exit()
        signal.signal(signal.SIGTERM, stop)
        note("start")
        time.sleep(600)
    """)

    def noting(name: str, *needs: str) -> ServerProgram:
        def problem() -> str | None:
            return None if order.exists() and f"start {name}" in order.read_text() else "not yet"

        command = (sys.executable, "-c", code, order, name)
        return ServerProgram(name=name, command=command, needs=needs, check_health=problem)

    supervise(
        folder,
        noting("gateway", "topics"),
        noting("kafka"),
        SetupProgram(name="topics", command=(), is_done=True, needs=("kafka",)),
    )

    assert order.read_text().split("\n")[:-1] == ["start kafka", "start gateway", "stop gateway", "stop kafka"]


def test_a_server_that_ignores_the_stop_signal_is_killed_in_time(folder: DataFolder) -> None:
    heads: list[processes.Process] = []

    async def note(supervisor: Supervisor) -> None:
        heads.append(supervisor.servers["stubborn"].process)

    began = time.monotonic()
    supervise(folder, server("stubborn", STUBBORN, stop_s=0.2), then=note)

    assert not heads[0].is_alive()
    assert time.monotonic() - began < BOUND_S / 2


def test_a_stopped_run_leaves_no_temporary_file(folder: DataFolder) -> None:
    leftover = folder.root / "tmp" / "flink-io-1"
    leftover.mkdir()
    supervise(folder, server("one"))

    assert not leftover.exists()


def test_a_log_that_cannot_be_kept_is_begun_anew_and_stops_nothing(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill(supervisor: Supervisor) -> None:
        full = folder.log("one")
        earlier(full).mkdir()
        monkeypatch.setattr(module, "LOG_BYTES", 10)
        full.write_text("x" * 100)
        trimming = asyncio.create_task(supervisor.trim_logs(every_s=0.01))
        await until_async(lambda: not full.stat().st_size)
        trimming.cancel()

    lines = supervise(folder, server("one"), then=fill)

    assert any(line.endswith("one.log could not be kept when it was full: Is a directory") for line in lines)


def test_the_logs_of_earlier_runs_are_kept_the_last_one_first(folder: DataFolder) -> None:
    log = folder.log("one")

    async def said(_: Supervisor) -> None:
        await until_async(lambda: bool(log.stat().st_size))

    for run in range(3):
        supervise(folder, server("one", f"print('run {run}', flush=True); {SLEEPER}"), then=said)

    assert [path.read_text() for path in (log, earlier(log), earlier(log, 2))] == ["run 2\n", "run 1\n", "run 0\n"]


def test_a_log_is_divided_by_size_and_its_oldest_part_gives_way(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 10)
    log = folder.log("one")
    for part in range(EARLIER_LOGS + 2):
        log.write_text(f"part {part} is longer than that")
        trim(log)
    log.write_text("short")
    trim(log)

    assert log.read_text() == "short"
    assert [earlier(log, number).read_text()[:7].strip() for number in range(1, EARLIER_LOGS + 1)] == [
        f"part {EARLIER_LOGS + 2 - number}" for number in range(1, EARLIER_LOGS + 1)
    ]
    assert not earlier(log, EARLIER_LOGS + 1).exists()


def test_a_server_that_cannot_be_stopped_keeps_no_other_running(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, heads = Supervisor.stop, dict[str, processes.Process]()

    async def fail_for_two(supervisor: Supervisor, child: module.ServerProcess | None) -> None:
        if child is not None and child.server.name == "two":
            raise Failed("two: its process does not end")
        await stop(supervisor, child)

    async def note(supervisor: Supervisor) -> None:
        heads.update({name: child.process for name, child in supervisor.servers.items()})

    monkeypatch.setattr(Supervisor, "stop", fail_for_two)
    with pytest.raises(Failed, match="two: its process does not end"):
        supervise(folder, server("one"), server("two", needs=("one",)), then=note)

    assert set(heads) == {"one", "two"}
    assert not any(head.is_alive() for head in heads.values())
    assert not folder.state.exists()
