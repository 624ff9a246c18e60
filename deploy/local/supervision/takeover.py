"""Take over a data folder: hold it for one supervisor, and end the processes that a killed supervisor has left."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.supervision import processes
from deploy.local.supervision.stack_state import StackState

# The watchdog of a killed supervisor holds the folder for at most this long, while it ends the leftovers.
WATCHDOG_S = processes.END_WITHIN_S + 2.0


@contextmanager
def hold(folder: DataFolder, *, previous_is_ending: bool = False) -> Iterator[None]:
    """Hold the folder for the block, as the only process; raises Failed when a running supervisor holds it.

    With `previous_is_ending`, wait for the supervisor that holds the folder although it still looks alive: the caller
    knows that it is ending.
    """
    with folder.lock.open("a") as file:
        deadline = time.monotonic() + WATCHDOG_S
        while not try_lock(file):
            state = StackState.read(folder.state)
            is_in_use = not previous_is_ending and state is not None and state.supervisor.is_alive()
            if is_in_use or time.monotonic() > deadline:
                raise Failed(f"a stack runs on {folder.root}: stop it, or set FLUORO_DATA to another folder")
            time.sleep(0.05)
        yield


def try_lock(file: IO[str]) -> bool:
    """Lock a file; False when another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_leftovers(folder: DataFolder) -> int:
    """End the processes of an earlier run, delete its temporary files, and return how many processes there were.

    The caller holds the folder, so every process that still runs from it has lost its supervisor.
    Raises Failed when a process does not end.
    """
    state = StackState.read(folder.state)
    left = set()
    if state:
        heads = [server.process for server in state.servers.values()]
        left = {stat.process for stat in processes.family(heads)} | set(processes.marked(f"{state.run_id}/"))
        if stuck := processes.end(heads, f"{state.run_id}/"):
            raise Failed(f"process {stuck[0].pid} of an earlier run does not end: end it by hand")
    folder.state.unlink(missing_ok=True)
    folder.delete_temporary_files()
    return len(left)
