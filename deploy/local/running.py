"""A stack as other processes see it: start a stack, read its state, wait for a server, kill a server.

The demo, the tests and the benchmarks use it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deploy.errors import Failed
from deploy.install import layout
from deploy.local import stack
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choosing_alone
from deploy.local.stack import Stack
from deploy.local.supervision import processes
from deploy.local.supervision.programs import ROOT, tied_to_this_process
from deploy.local.supervision.stack_state import ServerState, StackState
from schemas.settings.servers import CatalogSettings

# The module that starts a stack, and its command.
UP = ("deploy.local", "up")
READY_S = 180.0
STOP_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class RunningStack:
    """The stack that runs in a data folder."""

    folder: DataFolder

    def state(self) -> StackState:
        """Return the present state; raises Failed when no stack runs in the folder."""
        state = state_of(self.folder)
        if state is None:
            raise Failed(f"no stack runs on {self.folder.root}: start one (make up), or set FLUORO_DATA to its folder")
        return state

    @cached_property
    def plan(self) -> Stack:
        """The stack as it was planned: addresses, settings, secrets."""
        return stack.recall(layout.here(), self.folder, self.state())

    @property
    def env(self) -> dict[str, str]:
        """Every FLUORO_* variable of the stack, the catalog's for the role reader."""
        return self.plan.settings("reader")

    def catalog(self, role: str) -> CatalogSettings:
        """Return the settings that reach the catalog as owner, writer or reader."""
        return self.plan.catalog(role)

    @property
    def api_url(self) -> str:
        """The URL of the web server; DICOMweb is below /dicomweb."""
        return f"http://{self.plan.api.host}:{self.plan.api.port}"

    @property
    def flink_url(self) -> str:
        """The URL of Flink's REST API."""
        return f"http://127.0.0.1:{self.plan.job.rest_port}"

    @property
    def dimse_port(self) -> int:
        """The port of the DIMSE gateway."""
        return self.plan.dimse.port

    @property
    def ae_title(self) -> str:
        """The AE title of the DIMSE gateway."""
        return self.plan.dimse.ae_title

    @property
    def logs(self) -> Path:
        """The folder with one log per program."""
        return self.folder.logs

    def rss_bytes(self) -> dict[str, int]:
        """Return the resident memory of each server, with all its descendants."""
        heads = {name: server.process for name, server in self.state().servers.items()}
        return {name: sum(stat.rss_bytes for stat in processes.family([head])) for name, head in heads.items()}

    def kill(self, name: str) -> None:
        """Kill a server, and wait until the supervisor has noticed; raises Failed when it does not."""
        killed = self.state().servers[name]
        os.kill(killed.process.pid, signal.SIGKILL)
        wait_until(lambda: self.has_changed(name, killed), 10, f"the supervisor does not see that {name} was killed")

    def has_changed(self, name: str, before: ServerState) -> bool:
        """True if a server is not healthy, or runs in another process than before."""
        now = self.state().servers[name]
        return not now.is_healthy or now.process != before.process

    def wait_healthy(self, name: str, timeout_s: float = 60) -> None:
        """Wait until a server is healthy; raises Failed when it does not become healthy in time."""
        wait_until(lambda: self.is_healthy(name), timeout_s, f"{name} was not healthy within {timeout_s:.0f} s")

    def is_healthy(self, name: str) -> bool:
        """True if the supervisor has found a server healthy."""
        server = self.state().servers.get(name)
        return server is not None and server.is_healthy


def state_of(folder: DataFolder) -> StackState | None:
    """Return the state of the stack that runs in a folder; None when no stack runs there."""
    state = StackState.read(folder.state)
    return state if state and state.supervisor.is_alive() else None


def wait_until(condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
    """Wait until a condition holds; raises Failed(problem) when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(problem)
        time.sleep(POLL_S)


@contextmanager
def brought_up(  # noqa: PLR0913 - each has its default, and a test names the one that it needs
    folder: DataFolder,
    environ: Mapping[str, str],
    *,
    options: Sequence[str] = (),
    out: Path | None = None,
    module: Sequence[str] = UP,
    root: Path = ROOT,
) -> Iterator[RunningStack]:
    """Start a stack, yield it when it is ready, and stop it after the block; it dies with this process.

    One stack of a clone starts at a time. Its output goes to the file `out`, if given. `module` starts it, which tests have their
    own for; `root` is the clone that it runs from. Raises Failed when it does not start.
    """
    command = (sys.executable, "-m", *module, *options)
    env = {**environ, "FLUORO_DATA": str(folder.root)}
    with ExitStack() as opened:
        file = opened.enter_context(out.open("wb")) if out else None
        with choosing_alone(layout.here().tools):
            # In a session of its own: Ctrl-C reaches this process alone, which then stops the stack in order.
            supervisor = subprocess.Popen(
                tied_to_this_process(command, None), stdout=file, stderr=file, env=env, cwd=root, start_new_session=True
            )
            opened.callback(end, supervisor)
            wait_ready(folder, supervisor, out)
        yield RunningStack(folder)


def wait_ready(folder: DataFolder, supervisor: "subprocess.Popen[bytes]", out: Path | None) -> None:
    """Wait until the stack of a supervisor is ready; raises Failed when it ends, or takes too long."""

    def has_ended_or_is_ready() -> bool:
        return supervisor.poll() is not None or is_ready(folder, supervisor.pid)

    try:
        wait_until(has_ended_or_is_ready, READY_S, "the stack does not become ready")
    except Failed as failure:
        raise Failed(f"{failure}: {', '.join(unhealthy(folder))}") from None
    if supervisor.poll() is not None:
        raise Failed(last_lines(out) if out else "the stack did not start")


def unhealthy(folder: DataFolder) -> list[str]:
    """Return the names of the servers that were started and are not healthy, each with its log."""
    state = StackState.read(folder.state)
    names = [name for name, server in state.servers.items() if not server.is_healthy] if state else []
    return [f"{name} (see {folder.log(name)})" for name in names]


def is_ready(folder: DataFolder, supervisor_pid: int) -> bool:
    """True if the stack of this supervisor is ready."""
    state = StackState.read(folder.state)
    return state is not None and state.supervisor.pid == supervisor_pid and state.is_ready


def end(process: "subprocess.Popen[bytes]", within_s: float = STOP_S) -> None:
    """Ask a process to stop, and kill it when it does not in time; the watchdog cleans up after a killed supervisor."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(path: Path, count: int = 20) -> str:
    """Return the last lines of a file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
