"""Other processes can read the state of a stack until the system boots again."""

import json
import os

import pytest

from deploy.local.data_folder import DataFolder
from deploy.local.supervision import processes
from deploy.local.supervision.stack_state import ServerState, StackState


@pytest.mark.parametrize("is_same_boot", [True, False])
def test_a_state_counts_until_the_next_boot(folder: DataFolder, is_same_boot: bool) -> None:  # noqa: FBT001
    us = processes.identify(os.getpid())
    boot = processes.boot_id() if is_same_boot else "another boot"
    servers = {"one": ServerState(us, is_healthy=True, starts=2)}
    watchdog = ServerState(us, is_healthy=True, starts=3)
    state = StackState("run", boot, us, servers, watchdog, is_ready=True, plan={"ports": {"web": 8060}})
    state.write(folder.state)

    assert StackState.read(folder.state) == (state if is_same_boot else None)


def test_a_state_of_the_release_before_has_no_watchdog(folder: DataFolder) -> None:
    us = processes.identify(os.getpid())
    state = StackState("run", processes.boot_id(), us, {})
    state.write(folder.state)
    record = json.loads(folder.state.read_text())
    del record["watchdog"]
    folder.state.write_text(json.dumps(record))

    assert StackState.read(folder.state) == state
