"""The commands for a stack that was started before: status, stop, clean-data."""

import os
import signal

from deploy.local import data_folder, report
from deploy.local.report import say
from deploy.local.running import STOP_S, RunningStack, wait_until
from deploy.local.supervision import takeover


def status() -> None:
    """Print the servers, the addresses and the memory of the stack that runs; raises Failed when no stack runs."""
    running = RunningStack(data_folder.here())
    state = running.state()
    say("\n".join([*report.servers(state), *report.addresses(running.plan), report.memory(running)]))
    say("Ready." if state.is_ready else "Starting.")


def stop() -> None:
    """Stop the stack that runs; raises Failed when no stack runs, or it does not end."""
    supervisor = RunningStack(data_folder.here()).state().supervisor
    os.kill(supervisor.pid, signal.SIGTERM)
    wait_until(lambda: not supervisor.is_alive(), STOP_S, f"the supervisor, process {supervisor.pid}, does not end")
    say("Stopped; data are kept.")


def clean_data() -> None:
    """Delete everything that the stack has stored; raises Failed while it runs."""
    folder = data_folder.here()
    if not folder.is_data_folder():
        say(f"There are no data in {folder.root}")
        return
    with takeover.hold(folder):
        takeover.end_leftovers(folder)
        folder.remove()
    say(f"Deleted {folder.root}")
