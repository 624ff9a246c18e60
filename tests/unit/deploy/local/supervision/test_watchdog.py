"""The watchdog cleans up after a supervisor that was killed, and a watchdog that died has a successor."""

import os
import signal
import subprocess
from pathlib import Path

from deploy.local.data_folder import DataFolder
from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process
from deploy.local.supervision.stack_state import StackState

BOUND_S = 20.0


def state_of(folder: DataFolder) -> StackState:
    state = StackState.read(folder.state)
    assert state
    return state


def watchdogs(state: StackState) -> list[Process]:
    """Return the children of the supervisor that run the watchdog's script."""
    family = (stat.process for stat in processes.family([state.supervisor]))
    return [process for process in family if b"watchdog.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes()]


def test_a_killed_supervisor_leaves_no_process_and_no_temporary_file(
    folder: DataFolder, supervisor: subprocess.Popen[str]
) -> None:
    state = state_of(folder)
    (folder.root / "tmp" / "leftover").touch()
    supervisor.kill()

    wait_until(lambda: not processes.marked(f"{state.run_id}/"), BOUND_S, "a process is left")
    wait_until(lambda: not list((folder.root / "tmp").iterdir()), BOUND_S, "a temporary file is left")


def test_a_supervisor_killed_after_its_watchdog_leaves_nothing_either(
    folder: DataFolder, supervisor: subprocess.Popen[str]
) -> None:
    state = state_of(folder)
    (first,) = watchdogs(state)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: watchdogs(state) not in ([], [first]), BOUND_S, "no other watchdog was started")
    supervisor.kill()

    wait_until(lambda: not processes.marked(f"{state.run_id}/"), BOUND_S, "a process is left")
