"""Start servers in the order of their needs, keep them running, and stop them: children that never outlive us.

All in one thread: the kernel ends a child with the thread that started it.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.install.steps import Failed
from deploy.local import processes
from deploy.local.places import Place, Running, State
from deploy.local.processes import MARK, Process

ROOT = Path(__file__).resolve().parents[2]
STARTS = 5
BACK_OFF_S = 0.2
MOST_BACK_OFF_S = 5.0
# A server that lived this long starts anew without waiting.
LONG_LIFE_S = 10.0
CHECK_EVERY_S = 0.1
LAST_LINES = 8
LOG_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class Server:
    """A program that shall run: how it starts, how it says that it is well, how it stops."""

    name: str
    command: Sequence[str | Path]
    # Blocks for a second at most; what is wrong, or None when all is well.
    problem: Callable[[], str | None]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    cwd: Path = ROOT
    ready_s: float = 60.0
    stop_s: float = 8.0
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Task:
    """A program that shall end well once at each start, unless what it does is done."""

    name: str
    command: Sequence[str | Path]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    cwd: Path = ROOT
    done: bool = False
    most_s: float = 60.0


@dataclass
class Child:
    """A server's present process."""

    server: Server
    popen: asyncio.subprocess.Process
    process: Process
    starts: int
    healthy: bool = False

    def ended(self) -> str | None:
        """Return how it ended; None while it runs."""
        code = self.popen.returncode
        if code is None:
            return None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


class Supervisor:
    """One run of the stack in one data folder."""

    def __init__(
        self,
        place: Place,
        nodes: Sequence[Server | Task],
        say: Callable[[str], None],
        about: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.place = place
        self.about = about or {}
        self.nodes = {node.name: node for node in nodes}
        self.run_id = uuid.uuid4().hex
        self.say = say
        self.began = time.monotonic()
        self.children: dict[str, Child] = {}
        self.well = {name: asyncio.Event() for name in self.nodes}
        self.ready = False

    async def run(self, stop: asyncio.Event, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Keep everything running until `stop` is set; raises Failed, with everything stopped, when that cannot be."""
        rotate_logs(self.place.root / "logs")
        with self.watched():
            self.write_state()
            try:
                async with asyncio.TaskGroup() as group:
                    keepers = [group.create_task(self.keep(node)) for node in self.nodes.values()]
                    keepers += [group.create_task(self.trim_logs()), group.create_task(self.announce(when_ready))]
                    await stop.wait()
                    for keeper in keepers:
                        keeper.cancel()
            except ExceptionGroup as failures:
                failed = failures.subgroup(Failed)
                raise (failed.exceptions[0] if failed else failures) from None
            finally:
                await self.stop_all()

    async def announce(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Say that all is ready, once it is."""
        for event in self.well.values():
            await event.wait()
        self.ready = True
        self.write_state()
        await when_ready()

    async def keep(self, node: Server | Task) -> None:
        """Do a node's part when its needs are met, for a server as long as we run."""
        for need in node.needs:
            await self.well[need].wait()
        if isinstance(node, Server):
            await self.keep_running(node)
        else:
            await self.do(node)

    async def do(self, task: Task) -> None:
        """Do a task; raises Failed when it does not end well in time."""
        if not task.done:
            began = time.monotonic()
            popen = await self.spawn(task)
            try:
                status = await asyncio.wait_for(popen.wait(), task.most_s)
            except TimeoutError:
                raise Failed(self.accuse(task, f"did not end within {task.most_s:.0f} s")) from None
            if status:
                raise Failed(self.accuse(task, f"ended with status {status}"))
            self.tell(f"{task.name} done", began)
        self.well[task.name].set()

    async def keep_running(self, server: Server) -> None:
        """Start a server again whenever it ends; raises Failed after too many starts without health."""
        failures = quick = starts = 0
        while True:
            began = time.monotonic()
            starts += 1
            child = await self.start(server, starts)
            problem = await self.until_healthy(child)
            if problem is None:
                failures = 0
                self.healthy(child, began)
                await child.popen.wait()
                problem = child.ended()
            else:
                failures += 1
            self.say_at(f"{server.name} {problem}")
            await self.bury(child)
            if failures == STARTS:
                raise Failed(self.accuse(server, f"{problem}, {STARTS} starts in a row without health"))
            quick = 0 if time.monotonic() - began > LONG_LIFE_S and not failures else quick + 1
            await asyncio.sleep(min(BACK_OFF_S * 2 ** (quick - 1), MOST_BACK_OFF_S) if quick else 0)

    async def start(self, server: Server, starts: int) -> Child:
        """Start a server's process."""
        popen = await self.spawn(server)
        child = Child(server, popen, processes.identify(popen.pid), starts)
        self.children[server.name] = child
        self.write_state()
        return child

    async def spawn(self, node: Server | Task) -> asyncio.subprocess.Process:
        """Run a node's program, in a session of its own: Ctrl-C reaches it through us alone."""
        with self.log(node.name).open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *leashed(node.command, node.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**node.env, MARK: mark(self.run_id, node.name)},
                cwd=node.cwd,
                start_new_session=True,
            )

    async def until_healthy(self, child: Child) -> str | None:
        """Wait until a server is well: None, or what was wrong when it ended or its time was over."""
        deadline = time.monotonic() + child.server.ready_s
        while True:
            problem = await asyncio.to_thread(child.server.problem)
            if child.ended() or problem is None:
                return child.ended()
            if time.monotonic() > deadline:
                return f"was not healthy within {child.server.ready_s:.0f} s: {problem}"
            with suppress(TimeoutError):
                await asyncio.wait_for(child.popen.wait(), CHECK_EVERY_S)

    def healthy(self, child: Child, began: float) -> None:
        """Note that a server is well."""
        child.healthy = True
        self.tell(f"{child.server.name} is healthy", began)
        self.well[child.server.name].set()
        self.write_state()

    async def bury(self, child: Child) -> None:
        """End what is left of a server: its process if it still runs, and every descendant."""
        child.healthy = False
        self.write_state()
        stuck = await asyncio.to_thread(processes.end, [child.process], mark(self.run_id, child.server.name))
        if stuck:
            raise Failed(f"{child.server.name}: process {stuck[0].pid} does not end")
        await child.popen.wait()

    async def stop_all(self) -> None:
        """Stop every server, those first that others do not need; what does not go in its time is killed."""
        stops = {name: asyncio.Event() for name in self.nodes}

        async def stop(name: str) -> None:
            for other in self.nodes.values():
                if name in other.needs:
                    await stops[other.name].wait()
            await self.stop(self.children.get(name))
            stops[name].set()

        await asyncio.gather(*(stop(name) for name in self.nodes))
        processes.end([child.process for child in self.children.values()], mark(self.run_id))
        self.place.state.unlink(missing_ok=True)
        self.place.sweep_files()

    async def stop(self, child: Child | None) -> None:
        """Ask one server to stop, and see to it that it does."""
        if child is None:
            return
        with suppress(ProcessLookupError):
            child.popen.send_signal(child.server.stop_signal)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.popen.wait(), child.server.stop_s)
        await self.bury(child)

    def accuse(self, node: Server | Task, problem: str) -> str:
        """Return which program fails, how, and what it said last."""
        said = self.log(node.name).read_text(errors="replace").splitlines()[-LAST_LINES:]
        lines = [f"{node.name} {problem}. It said last ({self.log(node.name)}):"]
        return "\n".join(lines + [f"  {line[:300]}" for line in said])

    def log(self, name: str) -> Path:
        """Return a server's log."""
        return self.place.root / "logs" / f"{name}.log"

    def tell(self, what: str, began: float) -> None:
        """Say that something was reached, when, and how long it took."""
        self.say_at(f"{what} ({time.monotonic() - began:.1f} s)")

    def say_at(self, what: str) -> None:
        """Say something with the seconds since the start."""
        self.say(f"{time.monotonic() - self.began:6.1f} s  {what}")

    def write_state(self) -> None:
        """Keep the state of the run where others look."""
        running = {name: Running(c.process, c.healthy, c.starts) for name, c in self.children.items()}
        me = processes.identify(os.getpid())
        State(self.run_id, processes.boot(), me, running, self.ready, self.about).write(self.place.state)

    async def trim_logs(self) -> None:
        """Keep every log within bounds while servers write to it."""
        while True:
            await asyncio.sleep(10)
            for log in (self.place.root / "logs").glob("*.log"):
                if log.stat().st_size > LOG_BYTES:
                    shutil.copyfile(log, earlier(log))
                    os.truncate(log, 0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have a watchdog beside us for as long as the block runs."""
        command = [
            sys.executable,
            "-I",
            "-S",
            str(ROOT / "deploy" / "local" / "watchdog.py"),
            self.run_id,
            str(self.place.root),
        ]
        dog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        try:
            yield
        finally:
            with suppress(subprocess.TimeoutExpired):
                dog.communicate(b".", timeout=5)
            dog.kill()
            dog.wait()


def leashed(command: Sequence[str | Path], user: str | None) -> list[str]:
    """Return the command that runs another one on our leash."""
    leash = (sys.executable, "-I", "-S", ROOT / "deploy" / "local" / "leash.py", os.getpid(), user or "-")
    return [str(word) for word in (*leash, *command)]


def mark(run_id: str, name: str = "") -> str:
    """Return what every process of a run carries, or of one of its servers: the beginning of the mark's value."""
    return f"{run_id}/{name}/" if name else f"{run_id}/"


def rotate_logs(folder: Path) -> None:
    """Put the logs of the last run aside; those before it go."""
    for log in folder.glob("*.log"):
        log.replace(earlier(log))


def earlier(log: Path) -> Path:
    """Return where the earlier part of a log is kept."""
    return log.with_suffix(".log.1")
