"""The watchdog cleans up after a supervisor that was killed."""

import subprocess

from deploy.local.data_folder import DataFolder
from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision.stack_state import StackState

BOUND_S = 20.0


def test_a_killed_supervisor_leaves_no_process_and_no_temporary_file(
    folder: DataFolder, supervisor: subprocess.Popen[str]
) -> None:
    state = StackState.read(folder.state)
    (folder.root / "tmp" / "leftover").touch()
    supervisor.kill()

    assert state
    wait_until(lambda: not processes.marked(f"{state.run_id}/"), BOUND_S, "a process is left")
    wait_until(lambda: not list((folder.root / "tmp").iterdir()), BOUND_S, "a temporary file is left")
