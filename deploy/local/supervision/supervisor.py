"""Start servers in the order of their needs, keep them running, and stop them; no child outlives the supervisor.

Every child is started by the one thread that runs the event loop: the kernel
ends a child with the thread that started it (PR_SET_PDEATHSIG).
"""

import asyncio
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process
from deploy.local.supervision.programs import (
    Program,
    ServerProgram,
    SetupProgram,
    environment,
    mark,
    tied_to_this_process,
)
from deploy.local.supervision.stack_state import ServerState, StackState
from deploy.local.supervision.watchdog_process import WatchdogProcess
from operators.restarts import Restarts
from operators.tasks import supervised

CHECK_EVERY_S = 0.1
LAST_LINES = 8
# The status of a process that cannot use its settings: another start would meet the same.
UNUSABLE_SETTINGS = 2
# A log is begun anew at each start, and when it is longer than this; so many earlier parts of it are kept.
LOG_BYTES = 16 * 2**20
EARLIER_LOGS = 9


@dataclass
class ServerProcess:
    """The present process of a server."""

    server: ServerProgram
    popen: asyncio.subprocess.Process
    process: Process
    starts: int
    is_healthy: bool = False

    def end(self) -> str | None:
        """Return how the process ended, in words; None while it runs."""
        code = self.popen.returncode
        if code is None:
            return None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


class Supervisor:
    """One run of the stack in one data folder, which the caller holds."""

    def __init__(
        self,
        folder: DataFolder,
        programs: Sequence[Program],
        say: Callable[[str], None],
        plan: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.plan = plan or {}
        self.programs = {program.name: program for program in programs}
        self.run_id = uuid.uuid4().hex
        self.say = say
        self.began = time.monotonic()
        self.servers: dict[str, ServerProcess] = {}
        self.watchdog = WatchdogProcess(self.run_id, folder.root)
        # Set once a server is healthy, or a setup is done.
        self.available = {name: asyncio.Event() for name in self.programs}
        self.is_ready = False

    async def run(self, stop: asyncio.Event, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Keep everything running until `stop` is set; `when_ready` is called once everything is healthy.

        Raises Failed when a server does not become healthy, or a setup fails. Everything is stopped when this returns or raises.
        """
        rotate_logs(self.folder.logs)
        await self.watchdog.start()
        self.write_state()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [supervised("program", self.keep(program), group) for program in self.programs.values()]
                tasks += [supervised("log_trimming", self.trim_logs(), group)]
                tasks += [supervised("announcement", self.announce(when_ready), group)]
                tasks += [supervised("watchdog", self.watchdog.keep(self.note_watchdog), group)]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as failures:
            failed = failures.subgroup(Failed)
            raise (failed.exceptions[0] if failed else failures) from None
        finally:
            await self.stop_all()
            await self.watchdog.dismiss()

    async def announce(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Wait until every program is available, write that to the state file, and call `when_ready`."""
        for event in self.available.values():
            await event.wait()
        self.is_ready = True
        self.write_state()
        await when_ready()

    async def keep(self, program: Program) -> None:
        """Run a program once all its needs are available: a setup once, a server for as long as the stack runs."""
        for need in program.needs:
            await self.available[need].wait()
        if isinstance(program, ServerProgram):
            await self.keep_running(program)
        else:
            await self.set_up(program)

    async def set_up(self, setup: SetupProgram) -> None:
        """Run a setup; raises Failed when it does not end with status 0 in time."""
        if not setup.is_done:
            began = time.monotonic()
            popen = await self.spawn(setup)
            try:
                status = await asyncio.wait_for(popen.wait(), setup.within_s)
            except TimeoutError:
                raise Failed(self.failure_of(setup, f"did not end within {setup.within_s:.0f} s")) from None
            if status:
                raise Failed(self.failure_of(setup, f"ended with status {status}"))
            self.report_step(f"{setup.name} done", began)
        self.available[setup.name].set()

    async def keep_running(self, server: ServerProgram) -> None:
        """Start a server again whenever it ends.

        Raises Failed when its settings cannot be used, or when it has never become healthy in MAX_STARTS starts. What was
        healthy once has good settings: it lacks something that may come back, so it is tried until then.
        """
        restarts = Restarts()
        while True:
            began = time.monotonic()
            restarts.starts += 1
            child = await self.start(server, restarts.starts)
            problem = await self.until_healthy(child)
            was_healthy = problem is None
            if was_healthy:
                self.note_healthy(child, began)
                await child.popen.wait()
                problem = child.end()
            self.report(f"{server.name} {problem}")
            await self.end_family(child)
            restarts.add(time.monotonic() - began, was_healthy=was_healthy)
            if not was_healthy and child.popen.returncode == UNUSABLE_SETTINGS:
                raise Failed(self.failure_of(server, str(problem)))
            if restarts.is_hopeless:
                self.give_up_unless_it_was_healthy(
                    server, f"{problem}, {restarts.unhealthy} starts in a row without becoming healthy"
                )
            await asyncio.sleep(restarts.wait_s())

    def give_up_unless_it_was_healthy(self, server: ServerProgram, problem: str) -> None:
        """Report why a server does not start. Raises Failed when this run has never had it healthy."""
        failure = self.failure_of(server, problem)
        if not self.available[server.name].is_set():
            raise Failed(failure)
        self.report(failure)

    async def start(self, server: ServerProgram, starts: int) -> ServerProcess:
        """Start a server's process."""
        popen = await self.spawn(server)
        child = ServerProcess(server, popen, processes.identify(popen.pid), starts)
        self.servers[server.name] = child
        self.write_state()
        return child

    async def spawn(self, program: Program) -> asyncio.subprocess.Process:
        """Start a program in a session of its own, so that Ctrl-C reaches it only through the supervisor."""
        with self.folder.log(program.name).open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *tied_to_this_process(program.command, program.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(program, self.run_id),
                cwd=program.cwd,
                start_new_session=True,
            )

    async def until_healthy(self, child: ServerProcess) -> str | None:
        """Wait until a server is healthy and return None; return the problem when it ends, or takes too long."""
        deadline = time.monotonic() + child.server.ready_s
        while True:
            problem = await asyncio.to_thread(child.server.check_health)
            if child.end() or problem is None:
                return child.end()
            if time.monotonic() > deadline:
                return f"was not healthy within {child.server.ready_s:.0f} s: {problem}"
            with suppress(TimeoutError):
                await asyncio.wait_for(child.popen.wait(), CHECK_EVERY_S)

    def note_healthy(self, child: ServerProcess, began: float) -> None:
        """Note that a server is healthy, and let the programs start that need it."""
        child.is_healthy = True
        self.report_step(f"{child.server.name} is healthy", began)
        self.available[child.server.name].set()
        self.write_state()

    async def end_family(self, child: ServerProcess) -> None:
        """Kill what is left of a server: its process, if it still runs, and every descendant."""
        child.is_healthy = False
        self.write_state()
        stuck = await asyncio.to_thread(processes.end, [child.process], mark(self.run_id, child.server.name))
        if stuck:
            raise Failed(f"{child.server.name}: process {stuck[0].pid} does not end")
        await child.popen.wait()

    async def stop_all(self) -> None:
        """Stop every server after those that need it; a server that takes longer than its `stop_s` is killed.

        Raises Failed, when all others are stopped, if one cannot be.
        """
        stopped = {name: asyncio.Event() for name in self.programs}

        async def stop(name: str) -> None:
            for other in self.programs.values():
                if name in other.needs:
                    await stopped[other.name].wait()
            try:
                await self.stop(self.servers.get(name))
            finally:
                stopped[name].set()

        ended = await asyncio.gather(*(stop(name) for name in self.programs), return_exceptions=True)
        processes.end([child.process for child in self.servers.values()], mark(self.run_id))
        self.folder.state.unlink(missing_ok=True)
        self.folder.delete_temporary_files()
        if failures := [failure for failure in ended if failure is not None]:
            raise failures[0]

    async def stop(self, child: ServerProcess | None) -> None:
        """Ask a server to stop, and kill it when it does not within its `stop_s`."""
        if child is None:
            return
        with suppress(ProcessLookupError):
            child.popen.send_signal(child.server.stop_signal)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.popen.wait(), child.server.stop_s)
        await self.end_family(child)

    def failure_of(self, program: Program, problem: str) -> str:
        """Return which program failed, how, and the last lines of its log."""
        log = self.folder.log(program.name)
        last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        lines = [f"{program.name} {problem}. The last lines of its log ({log}):"]
        return "\n".join(lines + [f"  {line[:300]}" for line in last])

    def report_step(self, step: str, began: float) -> None:
        """Report that a step is done, and how long it took since `began`."""
        self.report(f"{step} ({time.monotonic() - began:.1f} s)")

    def report(self, event: str) -> None:
        """Report an event with the seconds since the supervisor's start."""
        self.say(f"{time.monotonic() - self.began:6.1f} s  {event}")

    def note_watchdog(self, event: str) -> None:
        """Report what became of the watchdog, and write the new one to the state file."""
        self.report(event)
        self.write_state()

    def write_state(self) -> None:
        """Write the state file, for other processes."""
        servers = {
            name: ServerState(child.process, child.is_healthy, child.starts) for name, child in self.servers.items()
        }
        us = processes.identify(os.getpid())
        boot, watchdog = processes.boot_id(), self.watchdog.state
        state = StackState(self.run_id, boot, us, servers, watchdog, is_ready=self.is_ready, plan=self.plan)
        state.write(self.folder.state)

    async def trim_logs(self, every_s: float = 10) -> None:
        """Keep every log within LOG_BYTES while servers write to it."""
        while True:
            await asyncio.sleep(every_s)
            for log in self.folder.logs.glob("*.log"):
                try:
                    trim(log)
                except OSError as error:
                    self.report(f"{log.name} could not be kept when it was full: {error.strerror}")


def trim(log: Path) -> None:
    """Begin a log anew when it is longer than LOG_BYTES; a copy is kept if there is room for it. Raises OSError.

    Its program goes on writing into the same file, so the file is copied and emptied.
    """
    if log.stat().st_size > LOG_BYTES:
        try:
            make_room(log)
            shutil.copyfile(log, earlier(log))
        finally:
            os.truncate(log, 0)


def rotate_logs(folder: Path) -> None:
    """Keep the logs of earlier runs beside those that now begin; an empty log is not kept."""
    for log in folder.glob("*.log"):
        if log.stat().st_size:
            make_room(log)
            log.replace(earlier(log))


def make_room(log: Path) -> None:
    """Move each earlier part of a log to the next number; the oldest part gives way."""
    for number in range(EARLIER_LOGS - 1, 0, -1):
        if earlier(log, number).is_file():
            earlier(log, number).replace(earlier(log, number + 1))


def earlier(log: Path, number: int = 1) -> Path:
    """Return the path of an earlier part of a log: 1 is the last one before the log."""
    return log.with_suffix(f".log.{number}")
