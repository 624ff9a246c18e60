import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deploy.install.layout import here
from deploy.install.steps import Failed
from deploy.local import control, places, processes
from deploy.local.places import Place, State
from deploy.local.processes import Process
from deploy.local.supervisor import STARTS, Server, Supervisor, Task, mark

BOUND_S = 20.0
SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
# A child with a child of its own in another session, as a server's start script may make one.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = Place(tmp_path / "data")
    folder.make()
    return folder


def server(name: str, code: str = SLEEPER, **options: object) -> Server:
    defaults: dict[str, object] = {"problem": lambda: None, "env": dict(os.environ), "stop_s": 1.0}
    return Server(name=name, command=(sys.executable, "-c", code), **defaults | options)  # type: ignore[arg-type]


def supervise(
    place: Place, *nodes: Server | Task, then: Callable[[Supervisor], Awaitable[None]] | None = None
) -> list[str]:
    """Run the nodes until they are ready and `then` has returned; what was said."""
    said: list[str] = []

    async def run() -> None:
        stop = asyncio.Event()
        supervisor = Supervisor(place, nodes, said.append)

        async def ready() -> None:
            await (then(supervisor) if then else asyncio.sleep(0))
            stop.set()

        await supervisor.run(stop, ready)

    asyncio.run(asyncio.wait_for(run(), BOUND_S))
    return said


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def until_async(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(until, condition)


def test_a_server_that_dies_is_started_again(place: Place) -> None:
    pids: list[int] = []

    async def kill(supervisor: Supervisor) -> None:
        pids.append(supervisor.children["one"].process.pid)
        os.kill(pids[0], signal.SIGKILL)
        await until_async(lambda: supervisor.children["one"].healthy and supervisor.children["one"].starts == 2)
        pids.append(supervisor.children["one"].process.pid)

    said = supervise(place, server("one"), then=kill)

    assert pids[0] != pids[1]
    assert any("one was killed by SIGKILL" in line for line in said)


def test_what_a_dead_server_leaves_ends_before_it_starts_again(place: Place) -> None:
    left: list[tuple[Process, ...]] = []

    async def kill(supervisor: Supervisor) -> None:
        await until_async(lambda: len(processes.marked(mark(supervisor.run_id, "one"))) == 2)
        before = processes.marked(mark(supervisor.run_id, "one"))
        os.kill(supervisor.children["one"].process.pid, signal.SIGKILL)
        await until_async(lambda: supervisor.children["one"].starts == 2)
        left.append(tuple(process for process in before if process.alive()))

    supervise(place, server("one", PARENT), then=kill)

    assert left == [()]


def test_a_server_that_never_becomes_healthy_is_named_after_five_starts(place: Place) -> None:
    dying = server("broken", "print('no licence'); raise SystemExit(3)", problem=lambda: "deaf")

    with pytest.raises(Failed) as failure:
        supervise(place, dying, server("good"))

    assert str(failure.value).startswith("broken ended with status 3")
    assert (place.root / "logs" / "broken.log").read_text().count("no licence") == STARTS
    assert "  no licence" in str(failure.value).splitlines()


def test_a_server_that_hangs_before_health_is_told_with_what_its_check_said(place: Place) -> None:
    with pytest.raises(Failed, match=r"deaf was not healthy within 0 s: port 1 is silent"):
        supervise(place, server("deaf", ready_s=0.1, problem=lambda: "port 1 is silent"))


def test_a_failing_task_stops_everything_and_is_named(place: Place) -> None:
    task = Task(name="format", command=(sys.executable, "-c", "raise SystemExit('disk is bad')"), needs=("one",))

    with pytest.raises(Failed, match="format ended with status 1") as failure:
        supervise(place, server("one"), task)

    assert "disk is bad" in str(failure.value)
    assert not place.state.exists()


def test_needs_come_first_and_go_last(place: Place) -> None:
    order = place.root / "order"
    code = textwrap.dedent("""
        import signal, sys, time
        def note(what):
            with open(sys.argv[1], "a") as file: file.write(f"{what} {sys.argv[2]}\\n")
        def stop(*_): note("stop"); sys.exit()
        signal.signal(signal.SIGTERM, stop)
        note("start")
        time.sleep(600)
    """)

    def noting(name: str, *needs: str) -> Server:
        def problem() -> str | None:
            return None if order.exists() and f"start {name}" in order.read_text() else "not yet"

        command = (sys.executable, "-c", code, order, name)
        return Server(name=name, command=command, needs=needs, problem=problem)

    supervise(
        place,
        noting("gateway", "topics"),
        noting("kafka"),
        Task(name="topics", command=(), done=True, needs=("kafka",)),
    )

    assert order.read_text().split("\n")[:-1] == ["start kafka", "start gateway", "stop gateway", "stop kafka"]


def test_stopping_is_bounded_when_a_server_ignores_it(place: Place) -> None:
    heads: list[Process] = []

    async def note(supervisor: Supervisor) -> None:
        heads.append(supervisor.children["stubborn"].process)

    began = time.monotonic()
    supervise(place, server("stubborn", STUBBORN, stop_s=0.2), then=note)

    assert not heads[0].alive()
    assert time.monotonic() - began < BOUND_S / 2


def test_a_stopped_run_leaves_no_temporary_file(place: Place) -> None:
    litter = place.root / "tmp" / "flink-io-1"
    litter.mkdir()
    supervise(place, server("one"))

    assert not litter.exists()


SCRIPT = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from deploy.local import places
from deploy.local.supervisor import Server, Supervisor
place = places.Place(Path(sys.argv[1]))
async def ready(): print("ready", flush=True)
async def main():
    node = Server(name="one", command=(sys.executable, "-c", {child!r}), problem=lambda: None, env=dict(os.environ))
    await Supervisor(place, [node], lambda line: None).run(asyncio.Event(), ready)
with places.held(place):
    places.sweep(place)
    asyncio.run(main())
"""


@pytest.fixture
def supervisor(place: Place) -> Iterator["subprocess.Popen[str]"]:
    """A supervisor of its own, ready, with one server that has a child in another session."""
    script = SCRIPT.format(root=str(here().root), child=PARENT)
    command = [sys.executable, "-c", script, str(place.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            state = State.read(place.state)
            assert state
            assert until(lambda: len(processes.marked(f"{state.run}/")) == 2)
            yield process
        finally:
            process.kill()


def test_a_killed_supervisor_leaves_no_process_and_no_temporary_file(
    place: Place, supervisor: "subprocess.Popen[str]"
) -> None:
    state = State.read(place.state)
    (place.root / "tmp" / "litter").touch()
    supervisor.kill()

    assert state
    assert until(lambda: not processes.marked(f"{state.run}/"))
    assert until(lambda: not list((place.root / "tmp").iterdir()))


def test_a_start_sweeps_what_a_supervisor_killed_with_its_watchdog_left(
    place: Place, supervisor: "subprocess.Popen[str]"
) -> None:
    state = State.read(place.state)
    assert state
    dog = next(s for s in processes.family([state.supervisor]) if b"watchdog.py" in cmdline(s.process.pid))
    os.kill(dog.process.pid, signal.SIGKILL)
    supervisor.kill()
    supervisor.wait()
    with places.held(place):
        places.sweep(place)

    assert not processes.marked(f"{state.run}/")
    assert not place.state.exists()


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_second_supervisor_on_the_same_data_is_refused(place: Place, supervisor: "subprocess.Popen[str]") -> None:
    with pytest.raises(Failed, match="a stack runs on"), places.held(place):
        pass

    assert supervisor.poll() is None


def test_a_recycled_process_id_is_never_killed(place: Place) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as stranger:
        real = processes.identify(stranger.pid)
        before = Process(real.pid, real.started - 1)
        State("old", processes.boot(), before, {"one": places.Running(before, True, 1)}).write(place.state)
        with places.held(place):
            swept = places.sweep(place)
        survived = stranger.poll() is None
        stranger.kill()

    assert (swept, survived) == (0, True)


def test_a_state_from_before_the_system_started_says_nothing(place: Place) -> None:
    me = processes.identify(os.getpid())
    State("old", "another boot", me, {"one": places.Running(me, True, 1)}).write(place.state)

    assert State.read(place.state) is None


def test_ports_are_chosen_once_and_kept(place: Place) -> None:
    wanted = {"dimse": 11112, "kafka": 0, "postgres": 0}
    first, second = places.ports(place, wanted, {"kafka": 3}), places.ports(place, wanted, {"kafka": 3})

    assert first == second
    assert first["dimse"] == 11112
    assert first["postgres"] not in range(first["kafka"], first["kafka"] + 3)


def test_a_row_of_ports_that_has_grown_into_another_s_is_chosen_again(place: Place) -> None:
    places.write_json(place.ports, {"metrics": 20000, "kafka": 20003})
    wanted = {"kafka": 0, "metrics": 0}
    narrow, wide = places.ports(place, wanted, {"metrics": 3}), places.ports(place, wanted, {"metrics": 256})

    assert narrow == {"metrics": 20000, "kafka": 20003}
    assert wide["kafka"] == 20003
    assert wide["kafka"] not in range(wide["metrics"], wide["metrics"] + 256)


def test_a_fixed_port_is_never_chosen_for_another_server(place: Place) -> None:
    places.write_json(place.ports, {"kafka": 20003})

    assert places.ports(place, {"dimse": 20003, "kafka": 0}, {})["kafka"] != 20003


@pytest.mark.parametrize("wrong", ["/etc/passwd", "/proc/nope", "/etc/passwd/data"])
def test_a_folder_that_cannot_be_is_refused_with_what_to_do(wrong: str) -> None:
    with pytest.raises(Failed, match=f"^{wrong} cannot hold data .*: set FLUORO_DATA to another folder$"):
        Place(Path(wrong)).make()


@pytest.mark.parametrize("command", ["up", "status", "stop"])
def test_a_file_for_a_data_folder_is_told_in_a_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_DATA", "/etc/passwd")

    assert control.main([command]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/etc/passwd cannot ")
    assert "set FLUORO_DATA" in line


def test_secrets_are_kept_and_closed_to_others(place: Place) -> None:
    first, second = place.secret("owner"), place.secret("owner")

    assert first == second
    assert len(first) >= 32
    assert (place.root / "secrets" / "owner").stat().st_mode & 0o777 == 0o600


def test_a_folder_with_other_files_is_never_taken_for_data(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(Failed, match="not a data folder of ours"):
        Place(tmp_path).make()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a home that the database's user may not enter")
def test_root_s_data_go_where_the_database_reaches_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place, why = places.choose({}, tmp_path)

    assert place.root == places.SYSTEM_DATA
    assert why
    assert len(why.splitlines()) == 1
    assert places.choose({"FLUORO_DATA": str(tmp_path)}, tmp_path) == (Place(tmp_path), None)
