"""Processes are found by descent and by mark, told from later ones with the same id, and ended with what they started."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision.processes import MARK, Process

BOUND_S = 20.0
# Each prints a line when its children, if it has any, have started.
ALONE = "import time; print(flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {ALONE}"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {ALONE!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline(); print(child.pid, flush=True)
child.wait()
"""
# A child that outlives its parent.
ORPHANING = PARENT.replace("child.wait()", "")
# More than any process id of Linux (proc(5), pid_max).
NO_PID = 2**22 + 1


@contextmanager
def started(code: str, **variables: str) -> Iterator[tuple[Process, list[Process]]]:
    """Start a Python program; yield its process and the children that it has named, and end them all."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}) as popen:
        assert popen.stdout
        head, children = processes.identify(popen.pid), list[Process]()
        try:
            children += [processes.identify(int(pid)) for pid in popen.stdout.readline().split()]
            yield head, children
        finally:
            popen.kill()
            processes.end([head, *children], "no such mark")


@pytest.fixture
def mark() -> str:
    """A mark that no other process has."""
    return f"{uuid4().hex}/"


# Identity


def test_a_process_is_known_by_its_id_and_when_it_started() -> None:
    us = processes.identify(os.getpid())

    assert us.is_alive()
    assert not Process(us.pid, us.started - 1).is_alive()


@pytest.mark.parametrize("pid", [NO_PID, -1])
def test_an_id_that_no_process_has_is_a_process_that_is_never_alive(pid: int) -> None:
    assert processes.read_stat(pid) is None
    assert not processes.identify(pid).is_alive()


def test_a_zombie_has_ended() -> None:
    with started(ALONE) as (head, _):
        os.kill(head.pid, 9)
        wait_until(lambda: not head.is_alive(), BOUND_S, "the process did not end")

        assert Path(f"/proc/{head.pid}").exists()
        assert processes.read_stat(head.pid) is None


@pytest.mark.parametrize("name", ["a b", "x) S 1 (", ") Z"])
def test_a_program_of_any_name_is_read(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "600"]) as popen:
        comm = Path(f"/proc/{popen.pid}/comm")
        wait_until(lambda: comm.read_text().startswith(name), BOUND_S, "the program did not start")
        stat = processes.read_stat(popen.pid)
        popen.kill()

    assert stat
    assert (stat.process.pid, stat.parent) == (popen.pid, os.getpid())


def test_the_table_lists_this_process_and_its_resident_memory() -> None:
    (us,) = (stat for stat in processes.table() if stat.process.pid == os.getpid())

    assert us.parent == os.getppid()
    assert 2**20 < us.rss_bytes < 2**36


# Families and marks


def test_a_family_is_its_living_heads_and_all_that_descend_from_them() -> None:
    with started(PARENT) as (head, children), started(ALONE) as (other, _):
        found = {stat.process for stat in processes.family([head, Process(other.pid, other.started - 1)])}

    assert len(children) == 1
    assert found == {head, *children}


def test_no_head_has_no_family() -> None:
    assert processes.family([]) == ()
    assert processes.family([processes.identify(NO_PID)]) == ()


def test_a_mark_is_inherited_and_found_by_its_beginning(mark: str) -> None:
    with (
        started(PARENT, **{MARK: f"{mark}web/"}) as (head, children),
        started(ALONE, **{MARK: f"{mark}kafka/"}) as (other, _),
    ):
        assert set(processes.marked(mark)) == {head, *children, other}
        assert set(processes.marked(f"{mark}web/")) == {head, *children}
        assert processes.marked(f"x{mark}") == ()


@pytest.mark.parametrize(
    ("prefix", "is_there"), [("ONE=", True), ("ONE=a", True), ("ONE=ab", False), ("NE=a", False), ("TWO=", False)]
)
def test_a_variable_is_found_by_its_name_and_the_beginning_of_its_value(prefix: str, *, is_there: bool) -> None:
    with started(ALONE, ONE="a") as (head, _):
        assert processes.has_variable(head.pid, prefix) is is_there


def test_a_process_that_has_ended_has_no_variables() -> None:
    assert not processes.has_variable(NO_PID, "")


# Ending


@pytest.mark.parametrize("code", [ALONE, STUBBORN, PARENT])
def test_the_heads_and_their_descendants_are_ended(code: str) -> None:
    with started(code) as (head, children):
        left = processes.end([head], "no such mark")
        living = [process for process in (head, *children) if process.is_alive()]

    assert (left, living) == ((), [])


def test_a_marked_process_is_ended_although_its_parent_is_gone(mark: str) -> None:
    with started(ORPHANING, **{MARK: mark}) as (head, (child,)):
        wait_until(lambda: not head.is_alive(), BOUND_S, "the parent did not end")
        was_alive = child.is_alive()
        left = processes.end([head], mark)

    assert was_alive
    assert (left, child.is_alive()) == ((), False)


def test_a_later_process_with_the_id_of_a_head_is_left_alone() -> None:
    with started(ALONE) as (head, _):
        left = processes.end([Process(head.pid, head.started - 1)], "no such mark")

        assert left == ()
        assert head.is_alive()


def test_what_does_not_end_in_time_is_named(mark: str) -> None:
    with started(ALONE, **{MARK: mark}) as (head, _):
        assert processes.end([head], mark, within_s=-1) == (head,)


def test_to_end_nothing_takes_no_time_and_leaves_nothing() -> None:
    assert processes.end([], "no such mark", within_s=0) == ()


def test_a_boot_has_one_id() -> None:
    assert processes.boot_id() == processes.boot_id() != ""
