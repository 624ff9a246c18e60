"""A program that is tied to its parent dies with it, however the parent ends, and is otherwise the program itself."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process
from deploy.local.supervision.programs import ROOT, tied_to_this_process

BOUND_S = 20.0
SCRIPT = ROOT / "deploy" / "local" / "supervision" / "die_with_parent.py"
# Starts a tied program, names its process, and waits.
PARENT = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from deploy.local.supervision.programs import tied_to_this_process
child = subprocess.Popen(tied_to_this_process(("/bin/sh", "-c", "trap '' TERM; echo; exec sleep 600"), sys.argv[1] or None), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
NOBODY = "nobody"
IDS = ("Uid", "Gid", "Groups")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def run(*command: str, user: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a program that is tied to this process."""
    return subprocess.run(
        tied_to_this_process(command, user), capture_output=True, text=True, timeout=BOUND_S, check=False
    )


@contextmanager
def parent_of_a_tied_program(user: str = "") -> Iterator[tuple[subprocess.Popen[str], Process]]:
    """Start a parent with a tied program; yield the parent and the program, and end both."""
    with subprocess.Popen([sys.executable, "-c", PARENT, user], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        try:
            program = processes.identify(int(parent.stdout.readline()))
            yield parent, program
        finally:
            parent.kill()
    processes.end([program], "no such mark")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("user", ["", pytest.param(NOBODY, marks=needs_root)])
def test_a_program_dies_when_its_parent_does(user: str, how: signal.Signals) -> None:
    with parent_of_a_tied_program(user) as (parent, program):
        was_alive = program.is_alive()
        parent.send_signal(how)
        wait_until(lambda: not program.is_alive(), BOUND_S, "the program outlives its parent")

    assert was_alive


def test_a_program_whose_parent_has_ended_already_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(2**22 + 1), "-", "touch", str(tmp_path / "started")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)

    assert (done.returncode, done.stderr) == (1, f"the parent, process {2**22 + 1}, has ended\n")
    assert not (tmp_path / "started").exists()


def test_the_program_takes_the_place_of_the_script_in_its_process() -> None:
    command = tied_to_this_process(("sh", "-c", "echo $$"), None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        printed, _ = popen.communicate(timeout=BOUND_S)

    assert int(printed) == popen.pid


@pytest.mark.parametrize("arguments", [(), ("a b", "", "-c", "--", "*", "M\u00fcller\n")])
def test_the_program_gets_its_arguments_as_they_are(arguments: tuple[str, ...]) -> None:
    done = run("sh", "-c", 'for each; do printf "%s\\0" "$each"; done', "sh", *arguments)

    assert done.stdout.split("\0")[:-1] == list(arguments)


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_is_that_of_the_program(status: int) -> None:
    assert run("sh", "-c", f"exit {status}").returncode == status


def test_a_missing_program_is_an_error() -> None:
    done = run("/nonexistent/program")

    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


@needs_root
def test_the_program_runs_as_its_user_for_good_with_that_users_groups_only() -> None:
    account = pwd.getpwnam(NOBODY)
    groups = sorted(os.getgrouplist(NOBODY, account.pw_gid))
    lines = run("/bin/cat", "/proc/self/status", user=NOBODY).stdout.splitlines()
    ids = {
        name: [int(one) for one in rest.split()]
        for name, _, rest in (line.partition(":") for line in lines)
        if name in IDS
    }

    # Real, effective, saved and file system id (proc(5)): no former id is left to return to.
    assert ids == {"Uid": [account.pw_uid] * 4, "Gid": [account.pw_gid] * 4, "Groups": groups}


def test_an_unknown_user_is_an_error_and_the_program_does_not_start() -> None:
    done = run("echo", "started", user="nosuchuser")

    assert (done.returncode, done.stdout) == (1, "")
    assert "nosuchuser" in done.stderr
