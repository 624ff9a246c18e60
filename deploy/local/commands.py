"""The commands for a stack that was started before: status, stop, clean-data."""

import os
import signal
from collections.abc import Sequence

from deploy.errors import Failed
from deploy.local import data_folder, jobs, report
from deploy.local.report import say
from deploy.local.running import STOP_S, RunningStack, wait_until
from deploy.local.supervision import takeover


def status() -> None:
    """Print the servers, the jobs, the addresses and the memory of the stack that runs.

    Raises Failed when no stack runs, and, with what is wrong, when a server or a job of a stack that was ready does not.
    """
    running = RunningStack(data_folder.here())
    state = running.state()
    job_report = jobs.report(running.plan.job) if running.plan.with_jobs else jobs.ELSEWHERE
    lines = [*report.servers(state), *job_report.lines, *report.addresses(running.plan), report.memory(running)]
    say("\n".join(lines))
    problems = [*report.problems(state), *job_report.problems]
    if state.is_ready and problems:
        raise Failed(f"Degraded: {'; '.join(problems)}.")
    say("Ready." if state.is_ready else "Starting.")


def stop() -> None:
    """Stop the stack that runs; raises Failed when no stack runs, or it does not end."""
    supervisor = RunningStack(data_folder.here()).state().supervisor
    os.kill(supervisor.pid, signal.SIGTERM)
    wait_until(lambda: not supervisor.is_alive(), STOP_S, f"the supervisor, process {supervisor.pid}, does not end")
    say("Stopped; data are kept.")


def run(command: Sequence[str]) -> None:
    """Become a command, with the settings of the stack that runs and the catalog's role writer in its environment.

    Raises Failed when no stack runs, or there is no such command.
    """
    settings = RunningStack(data_folder.here()).plan.settings("writer")
    try:
        os.execvpe(command[0], list(command), {**settings, **os.environ})  # noqa: S606 - its arguments are the user's own
    except (IndexError, OSError):
        raise Failed("name a command to run, such as: run flink run -d -py flink-jobs/study.py") from None


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
