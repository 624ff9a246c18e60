"""A stack from outside: bring it up, look at it, wait for a server, kill one. What demo and tests share."""

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

from deploy.install import layout
from deploy.install.steps import Failed
from deploy.local import processes, stack
from deploy.local.places import Place, Running, State
from deploy.local.stack import Stack
from deploy.local.supervisor import ROOT, leashed
from schemas.settings.servers import CatalogSettings

UP_S = 180.0
STOP_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True)
class RunningStack:
    """The stack that runs in a data folder, and the means to hurt it."""

    place: Place

    def state(self) -> State:
        """Return who runs now; raises Failed when no supervisor does."""
        state = state_of(self.place)
        if state is None:
            raise Failed(f"no stack runs on {self.place.root}: start one (make up), or set FLUORO_DATA to its folder")
        return state

    @cached_property
    def plan(self) -> Stack:
        """Return how it was planned: addresses, settings, secrets."""
        return stack.recall(layout.here(), self.state(), self.place)

    @property
    def env(self) -> dict[str, str]:
        """Return every FLUORO_* variable of the stack, the catalog's for the reader."""
        return self.plan.settings("reader")

    def catalog(self, role: str) -> CatalogSettings:
        """Return how the catalog is reached as owner, writer or reader."""
        return self.plan.catalog(role)

    @property
    def api_url(self) -> str:
        """Return where the API answers; DICOMweb is below /dicomweb."""
        return f"http://{self.plan.api.host}:{self.plan.api.port}"

    @property
    def flink_url(self) -> str:
        """Return where Flink's REST API answers."""
        return f"http://127.0.0.1:{self.plan.job.rest_port}"

    @property
    def dimse_port(self) -> int:
        """Return where the DIMSE door listens."""
        return self.plan.dimse.port

    @property
    def ae_title(self) -> str:
        """Return its AE title."""
        return self.plan.dimse.ae_title

    @property
    def logs(self) -> Path:
        """Return the folder with a log per server."""
        return self.place.root / "logs"

    def rss_bytes(self) -> dict[str, int]:
        """Return the memory that each server holds, its descendants with it."""
        heads = {name: server.process for name, server in self.state().servers.items()}
        return {name: sum(stat.rss_bytes for stat in processes.family([head])) for name, head in heads.items()}

    def kill(self, name: str) -> None:
        """Kill a server at once, and return when the supervisor has seen it."""
        killed = self.state().servers[name]
        os.kill(killed.process.pid, signal.SIGKILL)
        wait_until(lambda: self.changed(name, killed), 10, f"the supervisor does not see that {name} was killed")

    def changed(self, name: str, before: Running) -> bool:
        """True if a server is no longer the healthy process that it was."""
        now = self.state().servers[name]
        return not now.healthy or now.process != before.process

    def wait_healthy(self, name: str, timeout_s: float = 60) -> None:
        """Return when a server is well; raises Failed when it is not in time."""
        wait_until(lambda: self.is_healthy(name), timeout_s, f"{name} was not healthy within {timeout_s:.0f} s")

    def is_healthy(self, name: str) -> bool:
        """True if a server is well, as its supervisor sees it."""
        server = self.state().servers.get(name)
        return server is not None and server.healthy


def state_of(place: Place) -> State | None:
    """Return the state of the stack that runs in a folder; None when none does."""
    state = State.read(place.state)
    return state if state and state.supervisor.alive() else None


def wait_until(condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
    """Return when the condition holds; raises Failed with the problem when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(problem)
        time.sleep(POLL_S)


@contextmanager
def brought_up(
    place: Place, environ: Mapping[str, str], *, options: Sequence[str] = (), out: Path | None = None
) -> Iterator[RunningStack]:
    """Have a stack for the block, ready, that does not outlive us; what it says goes to `out`. Raises Failed."""
    command = (sys.executable, "-m", "deploy.local", "up", *options)
    env = {**environ, "FLUORO_DATA": str(place.root)}
    with ExitStack() as opened:
        said = opened.enter_context(out.open("wb")) if out else None
        # In a session of its own: Ctrl-C is ours, and stops it in order.
        up = subprocess.Popen(
            leashed(command, None), stdout=said, stderr=said, env=env, cwd=ROOT, start_new_session=True
        )
        opened.callback(end, up)
        try:
            wait_until(lambda: up.poll() is not None or is_ready(place, up.pid), UP_S, "the stack does not get ready")
        except Failed as failure:
            raise Failed(f"{failure}: {', '.join(missing(place))}") from None
        if up.poll() is not None:
            raise Failed(last_lines(out) if out else "the stack did not start")
        yield RunningStack(place)


def missing(place: Place) -> list[str]:
    """Name the servers that were started and are not well, each with its log."""
    state = State.read(place.state)
    names = [name for name, server in state.servers.items() if not server.healthy] if state else []
    return [f"{name} (see {place.root / 'logs' / name}.log)" for name in names]


def is_ready(place: Place, pid: int) -> bool:
    """True if the stack that this supervisor runs is ready."""
    state = State.read(place.state)
    return state is not None and state.supervisor.pid == pid and state.ready


def end(process: "subprocess.Popen[bytes]", within_s: float = STOP_S) -> None:
    """Stop a process, unless it has ended, by asking and then by force; a supervisor's watchdog does the rest."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(path: Path, count: int = 20) -> str:
    """Return the end of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
