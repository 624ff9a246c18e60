"""The kinds of process of a local stack that may be killed, and what is missing until the stack is whole again.

The stack's supervisor is not among them: the stack ends with it, as a machine does with its power.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx
import psutil

from deploy.flink.workers import BOOT, python_workers
from deploy.local.running import RunningStack, wait_until
from deploy.local.servers.health import runs_jobs
from deploy.local.supervision import processes
from pipelines.jobs import JOBS
from tests.support.kills.asking import asked
from tests.support.machine.running_stack import processes_of

ANSWER_S = 5.0
LOOK_S = 0.3
# How long a kind of process may be absent when it is to be killed, and the whole stack after a kill.
FOUND_S, WHOLE_S = 60.0, 120.0


def head(stack: RunningStack, server: str) -> list[psutil.Process]:
    return processes_of(stack, server)[:1]


def children(stack: RunningStack, server: str) -> list[psutil.Process]:
    return head(stack, server)[0].children()


def machines(stack: RunningStack) -> list[psutil.Process]:
    return [one for one in children(stack, "flink") if one.name() == "java"]


def workers(stack: RunningStack) -> list[psutil.Process]:
    return [one for one in processes_of(stack, "flink") if BOOT.decode() in one.cmdline()]


def sessions(stack: RunningStack) -> list[psutil.Process]:
    """Return the processes of PostgreSQL that serve a client: when one is killed, all of them end, and it recovers."""
    return [one for one in children(stack, "postgres") if " fluoro 127.0.0.1" in " ".join(one.cmdline())]


def watchdogs(stack: RunningStack) -> list[psutil.Process]:
    watchdog = stack.state().watchdog
    return [psutil.Process(watchdog.process.pid)] if watchdog else []


def every(stack: RunningStack) -> list[psutil.Process]:
    """Return every process of the stack's servers, at whatever depth: renderers, helpers of the database and others, too."""
    heads = [server.process for server in stack.state().servers.values()]
    return [psutil.Process(stat.process.pid) for stat in processes.family(heads)]


Find = Callable[[RunningStack], list[psutil.Process]]

# The processes of each kind that live now: those that serve, those that start them, and all of both.
KINDS: dict[str, Find] = {
    "gateway": lambda stack: head(stack, "gateway"),
    "gateway process": lambda stack: children(stack, "gateway"),
    "web origin": lambda stack: head(stack, "web"),
    "web process": lambda stack: children(stack, "web"),
    "jobs' launcher": lambda stack: head(stack, "flink"),
    "jobs' JVM": machines,
    "Python worker": workers,
    "broker": lambda stack: head(stack, "kafka"),
    "store": lambda stack: head(stack, "minio"),
    "database": lambda stack: head(stack, "postgres"),
    "database session": sessions,
    "watchdog": watchdogs,
    "any process": every,
}


def kinds_of(stack: RunningStack) -> list[str]:
    """Return the kinds of process that a stack has: Python has workers of its own in one mode only."""
    return [kind for kind in KINDS if kind != "Python worker" or stack.plan.job.python_mode == "process"]


@dataclass(frozen=True)
class Kill:
    """A process that was killed: its kind, when (Unix seconds), and how long the stack was not whole afterwards.

    Unknown if the next process was killed before.
    """

    kind: str
    at_s: float
    missing_s: float | None = None


@dataclass
class Killer:
    """Kills a random process of each kind in turn, in a random order, `spacing_s` apart on average."""

    stack: RunningStack
    chance: random.Random
    count: int
    spacing_s: float
    kills: list[Kill] = field(default_factory=list)

    def run(self) -> float:
        """Kill until the count is reached; return when the stack is whole after that (Unix seconds)."""
        began = time.monotonic()
        for after_s, kind in self.plan():
            self.watch(began + after_s)
            time.sleep(max(began + after_s - time.monotonic(), 0))
            self.kill(kind)
        self.watch(time.monotonic() + WHOLE_S)
        assert not (left := missing(self.stack)), f"missing {WHOLE_S:.0f} s after the last kill: {left}"
        return self.kills[-1].at_s + (self.kills[-1].missing_s or 0)

    def plan(self) -> list[tuple[float, str]]:
        """Return after how many seconds which kind is killed: each kind once, then each once more, and so on."""
        kinds = kinds_of(self.stack)
        rounds = (self.chance.sample(kinds, len(kinds)) for _ in range(self.count // len(kinds) + 1))
        order = [kind for one in rounds for kind in one][: self.count]
        return [((number + self.chance.uniform(0.3, 0.9)) * self.spacing_s, kind) for number, kind in enumerate(order)]

    def watch(self, until: float) -> None:
        """Wait until the stack is whole after the last kill, at most until this moment, and note how long that took."""
        while self.kills and self.kills[-1].missing_s is None and time.monotonic() < until:
            if not missing(self.stack):
                last = self.kills[-1]
                self.kills[-1] = replace(last, missing_s=time.time() - last.at_s)
            else:
                time.sleep(LOOK_S)

    def kill(self, kind: str) -> None:
        """Kill a process of a kind, and wait until it has ended."""
        found = list[psutil.Process]()

        def is_found() -> bool:
            found[:] = living(KINDS[kind], self.stack)
            return bool(found)

        wait_until(is_found, FOUND_S, f"there is no {kind}")
        victim = self.chance.choice(found)
        victim.kill()
        self.kills.append(Kill(kind, time.time()))
        wait_until(lambda: not lives(victim), FOUND_S, f"the {kind} does not die")


def living(find: Find, stack: RunningStack) -> list[psutil.Process]:
    """Return the processes that are found and live: one may end while it is looked at."""
    try:
        return [one for one in find(stack) if lives(one)]
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def missing(stack: RunningStack) -> list[str]:
    """Return what does not serve now. Gateway and web origin say whether store, broker and database answer them."""
    dimse, job = stack.plan.dimse, stack.plan.job
    gateways = [f"http://127.0.0.1:{dimse.metrics_port + index}" for index in range(dimse.processes)]
    return [
        *(name for name, one in stack.state().servers.items() if not (one.is_healthy and one.process.is_alive())),
        *(url for url in (*gateways, stack.api_url) if not is_ready(url)),
        *(["jobs"] if runs_jobs(job.rest_port, lambda: len(JOBS))() else []),
        *(["Python workers"] if len(all_workers(stack)) < expected_workers(stack) else []),
        *([] if living(watchdogs, stack) else ["watchdog"]),
    ]


def is_ready(url: str) -> bool:
    answer = asked(f"{url}/readyz", ANSWER_S)
    return answer is not None and answer.status_code == httpx.codes.OK


def all_workers(stack: RunningStack) -> list[object]:
    return [worker for machine in living(machines, stack) for worker in python_workers(machine.pid)]


def expected_workers(stack: RunningStack) -> int:
    job = stack.plan.job
    return job.parallelism * sum(one.mode(job) == "process" for one in JOBS)
