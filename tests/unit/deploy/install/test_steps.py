import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.install.steps import Children, Cost, Run, Step, Stopped, Work, describe, diagnose, locked, table

NOTHING = Cost()


def silent(_: str) -> None:
    return None


def step(name: str, make: Callable[[Work], object], *needs: str, ready: bool = False, cost: Cost = NOTHING) -> Step:
    def made(work: Work) -> Cost:
        make(work)
        return cost

    return Step(name, needs, (Path("/"), 0), lambda: ready, made)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "logs", silent)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with (tmp_path / "log").open("wb") as log:
        yield Work(Children(), log, silent)


def test_a_step_waits_for_what_it_needs(run: Run) -> None:
    done: list[str] = []
    costs = run.install(
        [
            step("jars", lambda _: done.append("jars"), cost=Cost(1.0)),
            step("class", lambda _: done.append("class"), "jars", cost=Cost(2.0)),
        ]
    )

    assert done == ["jars", "class"]
    assert costs == {"jars": Cost(1.0), "class": Cost(2.0)}


def test_what_is_ready_is_not_made_again(run: Run) -> None:
    def again(_: Work) -> None:
        raise AssertionError

    assert run.install([step("jars", again, ready=True)]) == {}


def test_steps_run_side_by_side(run: Run) -> None:
    both = threading.Barrier(2)
    costs = run.install([step(name, lambda _: both.wait(10)) for name in ("one", "two")])

    assert set(costs) == {"one", "two"}


def test_a_failure_stops_the_children_of_the_others(run: Run) -> None:
    began = threading.Event()

    def long(work: Work) -> None:
        began.set()
        work.run([sys.executable, "-c", "import time; time.sleep(600)"])

    def broken(_: Work) -> None:
        began.wait(10)
        raise Failed("it broke: mend it")

    start = time.monotonic()
    with pytest.raises(Failed, match="broken: it broke: mend it"):
        run.install([step("long", long), step("broken", broken), step("after", lambda _: None, "broken")])

    assert time.monotonic() - start < 60
    assert "after" not in run.started
    assert not run.children.running or all(child.poll() is not None for child in run.children.running)


def test_nothing_starts_once_stopped() -> None:
    children = Children()
    children.stop()

    with pytest.raises(Stopped):
        children.start([sys.executable, "-c", ""])


def test_a_stop_ends_the_grandchildren_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import subprocess as s; p = s.Popen(['sleep', '600']); open({str(pid)!r}, 'w').write(str(p.pid)); p.wait()"
    children = Children()
    children.start([sys.executable, "-c", code])
    until(lambda: pid.exists() and pid.read_text() != "")
    children.stop()

    until(lambda: gone(int(pid.read_text())))


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def test_a_place_is_there_whole_or_not_at_all(work: Work, tmp_path: Path) -> None:
    place = tmp_path / "server-1"

    def break_off() -> None:
        with work.making(place) as room:
            assert room is not None
            (room[1] / "half").touch()
            raise Failed("no network")

    with pytest.raises(Failed):
        break_off()
    left = {path.name for path in tmp_path.iterdir()} - {"log"}
    with work.making(place) as room:
        assert room is not None
        (room[1] / "whole").touch()
        hidden = not place.exists()

    assert left == {"server-1.lock"}
    assert hidden
    assert [path.name for path in place.iterdir()] == ["whole"]


def test_leftovers_of_a_killed_run_are_swept(work: Work, tmp_path: Path) -> None:
    (tmp_path / "server-1.partial" / "old").mkdir(parents=True)
    with work.making(tmp_path / "server-1") as room:
        assert room is not None
        names = list(room[1].iterdir())

    assert names == []


def test_a_second_installer_waits_and_then_finds_it_made(work: Work, tmp_path: Path) -> None:
    place = tmp_path / "server-1"
    waits = threading.Event()
    found: list[bool] = []

    def second() -> None:
        other = Work(work.children, work.log, lambda _: waits.set())
        with other.making(place) as room:
            found.append(room is None)

    with work.making(place):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(20)
    thread.join(20)

    assert found == [True]


def test_a_step_that_waits_for_another_installer_can_be_stopped(work: Work, tmp_path: Path) -> None:
    outcome: list[str] = []

    def second() -> None:
        stop_at_once = Work(Children(), work.log, lambda _: stop_at_once.children.stop())
        try:
            with stop_at_once.making(tmp_path / "server-1"):
                outcome.append("made")
        except Stopped:
            outcome.append("stopped")

    with work.making(tmp_path / "server-1"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(20)

    assert outcome == ["stopped"]


def test_an_orphaned_child_keeps_the_lock(work: Work, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    waits = threading.Event()
    with locked(lock, silent) as descriptor:
        orphan = work.children.start(["sleep", "600"], pass_fds=(descriptor,))

    def next_one() -> None:
        with locked(lock, lambda _: waits.set()):
            pass

    thread = threading.Thread(target=next_one)
    thread.start()
    waited = waits.wait(20)
    orphan.kill()
    orphan.wait()
    thread.join(20)

    assert waited
    assert not thread.is_alive()


def test_a_failed_command_says_what_to_do_and_keeps_its_words_in_the_log(run: Run) -> None:
    words = "error: dns error: failed to lookup address information"
    with pytest.raises(Failed, match=r"no network.*log: .*jars\.log"):
        run.install([step("jars", lambda work: work.run([sys.executable, "-c", f"raise SystemExit({words!r})"]))])

    assert words in (run.logs / "jars.log").read_text(encoding="utf-8")


def test_a_missing_program_fails_like_any_other(run: Run) -> None:
    with pytest.raises(Failed, match=r"No such file.*log: "):
        run.install([step("jars", lambda work: work.run(["/nonexistent/program"]))])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Hash mismatch for `x==1`", "not what the lock names"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not what the lock names"),
        ("verifying m@v: checksum mismatch\nSECURITY ERROR", "not what the lock names"),
        ("kafka 4.3.1: sha256 mismatch with the lock", "not what the lock names"),
        ("dial tcp: lookup example: no such host", "no network"),
        ("Temporary failure in name resolution", "no network"),
        ("ERROR: Could not find a version that satisfies the requirement uv", "no network"),
        ("write: No space left on device", "the disk is full"),
        ("invalid peer certificate: UnknownIssuer", "not trusted"),
        ("The virtual environment was not created successfully because ensurepip is not available", "venv"),
        ("warming up\n1. ERROR in File.java (at line 3)\n3 problems (3 errors)", "ERROR in File.java (at line 3)"),
        ("go: downloading example/pkg/errors v0.9.1\nerror: it broke", "error: it broke"),
        ("something else\nlast words\n", "last words"),
        ("", "without a word"),
    ],
)
def test_a_failure_is_named_in_one_line(output: str, said: str) -> None:
    line = diagnose(output)

    assert said in line
    assert "\n" not in line


def test_a_cost_says_only_what_there_was() -> None:
    assert describe(Cost(2.0, 0, 3_000_000, 0)) == "downloaded in 2.0 s, 3 MB fetched"
    assert describe(Cost()) == "done"


def test_the_table_adds_megabytes_but_not_overlapping_seconds() -> None:
    last = table({"a": Cost(5.0, 1.0, 2_000_000, 3_000_000), "b": Cost(6.0, 0, 1_000_000, 0)}, 7.0).splitlines()[-1]

    assert last.split()[-3:] == ["7.0", "3.0", "3.0"]


def test_each_command_gives_its_own_words_only(work: Work) -> None:
    said = [work.run([sys.executable, "-c", f"print({word!r})"]) for word in ("one", "two")]

    assert said == ["one\n", "two\n"]


def test_a_child_hears_no_keyboard(work: Work) -> None:
    assert work.run([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]).strip() == "''"
