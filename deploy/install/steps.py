"""How an installation runs: steps side by side, each one atomic, timed, logged and stopped cleanly.

A step builds in a sibling of its place (`PLACE.partial`) and renames it when
complete, so what is there is whole. Places that clones share are guarded by a
file lock that the step's child processes hold too: should the installer be
killed, the next one waits until its orphans are gone.
Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.disk import MB, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

STOP_S = 5.0
LOCK_POLL_S = 0.2


class Stopped(Exception):
    """The step was stopped because another one failed or the user asked for it."""


# What a tool says when it fails -> what is wrong, what to do. The first that matches is it.
_DIAGNOSES = (
    (
        r"hash mismatch|do not match the hashes|checksum mismatch|sha256 mismatch|security error",
        "what was downloaded is not what the lock names",
        "try again; if it stays, something on the way alters downloads",
    ),
    (r"no space left|disk quota exceeded", "the disk is full", "make room and run it again"),
    (r"ensurepip is not available", "Python cannot make environments", "install its venv package"),
    (
        r"certificate verify failed|unknownissuer|unknown authority|self.signed certificate",
        "the certificate of a download server is not trusted",
        "give SSL_CERT_FILE the authority of the proxy that you are behind",
    ),
    (
        (
            r"name or service not known|name resolution|no such host|dns error|failed to lookup|resolve host"
            r"|network is unreachable|no route to host|connection refused|connection reset|\btimed out\b|\btimeout\b"
            r"|error sending request|max retries exceeded|could not find a version that satisfies|tunnel connection failed"
        ),
        "no network, or a download server is not reachable",
        "check the connection (and HTTPS_PROXY) and run it again; what is done stays",
    ),
)


def diagnose(output: str) -> str:
    """One line for what a failed tool printed: what is wrong, what to do."""
    for pattern, what, remedy in _DIAGNOSES:
        if re.search(pattern, output, re.IGNORECASE):
            return f"{what}: {remedy}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = (
        [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
        or lines[-1:]
        or ["it failed without a word"]
    )
    return telling[0][:200]


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds of downloading and of building, bytes fetched and bytes kept on disk."""

    download_s: float = 0.0
    build_s: float = 0.0
    fetched_bytes: int = 0
    disk_bytes: int = 0


@dataclass
class Children:
    """The processes that run now, so that all of them can be stopped."""

    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        """Start one in a session of its own: Ctrl-C reaches it through us, and its whole family at once."""
        with self.guard:
            if self.stopping.is_set():
                raise Stopped
            child: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                command, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
            self.running.add(child)
        return child

    def finish(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for one; its exit status."""
        status = child.wait()
        with self.guard:
            self.running.discard(child)
        if self.stopping.is_set():
            raise Stopped
        return status

    def stop(self) -> None:
        """End all, by asking and then by force, and let none start any more."""
        with self.guard:
            self.stopping.set()
            children = tuple(self.running)
        _signal(children, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        _signal(children, signal.SIGKILL)


def _signal(children: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for child in children:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


@dataclass(frozen=True)
class Work:
    """What a running step is given: children, a log, and the locks that children keep alive."""

    children: Children
    log: IO[bytes]
    say: Callable[[str], None]
    locks: tuple[int, ...] = ()

    def run(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end; its output, which goes to the log too. Raises Failed."""
        words = [str(word) for word in command]
        self.log.write(f"\n$ {' '.join(words)}\n".encode())
        self.log.flush()
        start = os.fstat(self.log.fileno()).st_size
        child = self.children.start(words, stdout=self.log, stderr=self.log, env=env, pass_fds=self.locks)
        status = self.children.finish(child)
        output = self.said(start)
        if status != 0:
            raise Failed(diagnose(output))
        return output

    def said(self, start: int) -> str:
        """What the log holds from an offset on."""
        with Path(self.log.name).open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    @contextmanager
    def making(self, place: Path) -> Iterator[tuple[Work, Path] | None]:
        """Fill a place that may be shared: a sibling to build in, renamed when the block ends well.

        Gives None when another installer has made it meanwhile. A leftover of
        a killed run is swept first; a failed one leaves nothing.
        """
        partial = place.with_name(f"{place.name}.partial")
        with locked(place.with_name(f"{place.name}.lock"), self.say, self.children.stopping) as lock:
            if place.exists():
                yield None
                return
            discard(partial)
            partial.mkdir(parents=True)
            try:
                yield replace(self, locks=(*self.locks, lock)), partial
                partial.rename(place)
            finally:
                discard(partial)


@contextmanager
def locked(path: Path, say: Callable[[str], None], stopping: threading.Event | None = None) -> Iterator[int]:
    """Hold a file lock, waiting for whoever has it; gives its descriptor. Raises Stopped if stopped meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _try_lock(descriptor):
            say(f"Waiting for another installation, which holds {path} ...")
            _wait_lock(descriptor, stopping or threading.Event())
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_lock(descriptor: int, stopping: threading.Event) -> None:
    # Asked again and again: a thread that sleeps inside flock could not be stopped.
    while not _try_lock(descriptor):
        if stopping.wait(LOCK_POLL_S):
            raise Stopped


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """A clock that counts the block's seconds and stands still after it."""
    start = time.monotonic()
    end: list[float] = []
    yield lambda: (end[0] if end else time.monotonic()) - start
    end.append(time.monotonic())


@dataclass(frozen=True)
class Step:
    """One thing to install."""

    name: str
    needs: tuple[str, ...]  # the steps it builds on
    room: tuple[Path, int]  # the folder that it fills, and the bytes it takes there at most, while it is made
    ready: Callable[[], bool]
    make: Callable[[Work], Cost]


@dataclass
class Run:
    """The steps under way: who started when, what is done, and how to say it."""

    logs: Path
    say: Callable[[str], None]
    children: Children = field(default_factory=Children)
    started: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def going(self) -> dict[str, float]:
        """The steps under way, and when on the monotonic clock each began."""
        return {name: since for name, since in tuple(self.started.items()) if name not in self.ended}

    def install(self, steps: Sequence[Step], tick: Callable[[], None] = lambda: None) -> dict[str, Cost]:
        """Make what is not ready, side by side where nothing is waited for; what each cost.

        Raises Failed with the first failure; by then every child has ended.
        `tick` is called about once a second.
        """
        futures: dict[str, Future[Cost]] = {}
        with ThreadPoolExecutor(len(steps)) as pool:
            try:
                for step in steps:
                    futures[step.name] = pool.submit(self._one, step, [futures[name] for name in step.needs])
                self._watch(futures, tick)
            finally:
                self.children.stop()
        return {name: future.result() for name, future in futures.items() if name in self.started}

    def _watch(self, futures: Mapping[str, Future[Cost]], tick: Callable[[], None]) -> None:
        pending = set(futures.values())
        while pending:
            done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            failures = [future.exception() for future in done if future.exception()]
            for failure in failures:
                if failure and not isinstance(failure, Stopped):
                    raise failure
            tick()

    def _one(self, step: Step, needs: Sequence[Future[Cost]]) -> Cost:
        for need in needs:
            if need.exception():
                raise Stopped
        if step.ready():
            return Cost()
        self.started[step.name] = time.monotonic()
        self.say(f"{step.name} ...")
        self.logs.mkdir(parents=True, exist_ok=True)
        cost = self._logged(step)
        self.ended.add(step.name)
        self.say(f"{step.name}: {describe(cost)}")
        return cost

    def _logged(self, step: Step) -> Cost:
        path = self.logs / f"{step.name.lower().replace(' ', '-')}.log"
        with path.open("wb") as log:
            try:
                return step.make(Work(self.children, log, self.say))
            except Failed as failure:
                raise Failed(f"{step.name}: {failure} (log: {path})") from None
            except OSError as error:
                raise Failed(f"{step.name}: {diagnose(str(error))} (log: {path})") from error


def describe(cost: Cost) -> str:
    """A cost in words: only what there was of it."""
    parts = (
        (cost.download_s, f"downloaded in {cost.download_s:.1f} s"),
        (cost.fetched_bytes, f"{cost.fetched_bytes / MB:.0f} MB fetched"),
        (cost.build_s, f"built in {cost.build_s:.1f} s"),
        (cost.disk_bytes, f"{cost.disk_bytes / MB:.0f} MB on disk"),
    )
    return ", ".join(text for amount, text in parts if amount) or "done"


def table(costs: Mapping[str, Cost], wall_s: float) -> str:
    """What the installation took, a row per step; the last row is the wall clock, since steps overlap."""
    rows = [("", "download s", "build s", "fetched MB", "disk MB")]
    rows += [(name, *_cells(cost)) for name, cost in costs.items()]
    total = Cost(wall_s, 0, sum(c.fetched_bytes for c in costs.values()), sum(c.disk_bytes for c in costs.values()))
    rows.append(("all, side by side", f"{wall_s:.1f}", "", *_cells(total)[2:]))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {row[0]:<{width}}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)


def _cells(cost: Cost) -> tuple[str, str, str, str]:
    seconds = (f"{value:.1f}" if value else "" for value in (cost.download_s, cost.build_s))
    megabytes = (f"{value / MB:.1f}" if value else "" for value in (cost.fetched_bytes, cost.disk_bytes))
    download, build = seconds
    fetched, disk = megabytes
    return download, build, fetched, disk
