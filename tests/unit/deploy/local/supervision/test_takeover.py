"""One supervisor at a time holds a data folder, and a start ends the processes that an earlier run has left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.supervision import processes, takeover
from deploy.local.supervision.processes import Process
from deploy.local.supervision.stack_state import ServerState, StackState

SLEEPER = "import time; time.sleep(600)"


def test_a_start_ends_the_processes_of_a_killed_supervisor_and_watchdog(
    folder: DataFolder, supervisor: subprocess.Popen[str]
) -> None:
    state = StackState.read(folder.state)
    assert state
    family = processes.family([state.supervisor])
    watchdog = next(stat.process for stat in family if b"watchdog.py" in command_line(stat.process.pid))
    os.kill(watchdog.pid, signal.SIGKILL)
    supervisor.kill()
    supervisor.wait()
    with takeover.hold(folder):
        takeover.end_leftovers(folder)

    assert not processes.marked(f"{state.run_id}/")
    assert not folder.state.exists()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_second_supervisor_on_the_same_data_is_refused(folder: DataFolder, supervisor: subprocess.Popen[str]) -> None:
    with pytest.raises(Failed, match="a stack runs on"), takeover.hold(folder):
        pass

    assert supervisor.poll() is None


def test_a_later_process_with_a_recorded_id_is_never_killed(folder: DataFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as stranger:
        real = processes.identify(stranger.pid)
        before = Process(real.pid, real.started - 1)
        servers = {"one": ServerState(before, is_healthy=True, starts=1)}
        StackState("old", processes.boot_id(), before, servers).write(folder.state)
        with takeover.hold(folder):
            ended = takeover.end_leftovers(folder)
        survived = stranger.poll() is None
        stranger.kill()

    assert (ended, survived) == (0, True)
