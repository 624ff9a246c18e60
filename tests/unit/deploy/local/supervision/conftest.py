"""A supervisor in a process of its own, so that it can be killed."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.local.data_folder import DataFolder
from deploy.local.running import wait_until
from deploy.local.supervision import processes
from deploy.local.supervision.programs import ROOT
from deploy.local.supervision.stack_state import StackState

BOUND_S = 20.0
SLEEPER = "import time; time.sleep(600)"
# A child with a child of its own in another session, as a server's start script may make one.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from deploy.local.data_folder import DataFolder
from deploy.local.supervision import takeover
from deploy.local.supervision.programs import ServerProgram
from deploy.local.supervision.supervisor import Supervisor
folder = DataFolder(Path(sys.argv[1]))
command = (sys.executable, "-c", {child!r})
server = ServerProgram(name="one", command=command, check_health=lambda: None, env=dict(os.environ))
async def ready(): print("ready", flush=True)
async def main(): await Supervisor(folder, [server], lambda line: None).run(asyncio.Event(), ready)
with takeover.hold(folder):
    takeover.end_leftovers(folder)
    asyncio.run(main())
"""


@pytest.fixture
def supervisor(folder: DataFolder) -> Iterator[subprocess.Popen[str]]:
    """A supervisor that is ready, with one server that has a child in another session."""
    script = SCRIPT.format(root=str(ROOT), child=PARENT)
    command = [sys.executable, "-c", script, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            wait_until(lambda: len(processes.marked(f"{run_id(folder)}/")) == 2, BOUND_S, "the child did not start")
            yield process
        finally:
            process.kill()


def run_id(folder: DataFolder) -> str:
    state = StackState.read(folder.state)
    assert state
    return state.run_id
