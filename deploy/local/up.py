"""Start every server of a stack and keep it running until a signal stops it."""

import asyncio
import os
import signal

from deploy.local import checks, data_folder, report, stack, targets
from deploy.local.report import say
from deploy.local.running import RunningStack
from deploy.local.servers import applications, kafka, minio, postgres
from deploy.local.stack import Stack
from deploy.local.supervision import takeover
from deploy.local.supervision.programs import Program
from deploy.local.supervision.supervisor import Supervisor


def up(*, free_ports: bool, with_jobs: bool = True) -> None:
    """Start everything and keep it running until Ctrl-C; raises Failed and SettingsError.

    Without the jobs, a Flink cluster of the user's own runs them.
    """
    folder = data_folder.here()
    folder.make()
    with takeover.hold(folder):
        if ended := takeover.end_leftovers(folder):
            say(f"Ended {ended} processes of a run that was killed.")
        here = checks.check_installed()
        planned = stack.plan(here, folder, os.environ, free_ports=free_ports, with_jobs=with_jobs)
        checks.check_jobs(planned)
        checks.check_start(planned)
        asyncio.run(supervise(planned))
    say("Stopped; data are kept.")


def programs(planned: Stack) -> tuple[Program, ...]:
    """Return every program of the stack."""
    return tuple(program for server in (postgres, kafka, minio, applications) for program in server.programs(planned))


async def supervise(planned: Stack) -> None:
    """Run the supervisor until a signal asks it to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop, stop)

    async def when_ready() -> None:
        lines = ("", *report.addresses(planned), report.memory(RunningStack(planned.folder)))
        say("\n".join([*lines, "Ready. Ctrl-C stops it."]))

    targets.write(planned)
    say(f"Starting the stack; data and logs are in {planned.folder.root}")
    await Supervisor(planned.folder, programs(planned), say, planned.record).run(stop, when_ready)


def ask_to_stop(stop: asyncio.Event) -> None:
    """Begin to stop; another signal changes nothing, since stopping takes a bounded time."""
    if not stop.is_set():
        say("Stopping ...")
    stop.set()
