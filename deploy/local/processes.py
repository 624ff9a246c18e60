"""What runs on this machine, as /proc says: who is whose child, what carries our mark, how to end it for certain."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Every process of one run of the stack carries this variable, however far down the tree it was started.
MARK = "FLUORO_RUN"
GONE_S = 10.0


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same id by when it started (clock ticks since boot)."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        stat = read_stat(self.pid)
        return stat is not None and stat.process == self


@dataclass(frozen=True)
class Stat:
    """One line of the process table."""

    process: Process
    parent: int
    rss_bytes: int


def read_stat(pid: int) -> Stat | None:
    """Return a process's line; None when it is gone or a zombie (proc(5), stat)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return Stat(Process(pid, int(fields[18])), int(fields[0]), int(fields[20]) * os.sysconf("SC_PAGE_SIZE"))


def identify(pid: int) -> Process:
    """Tell who has this id now; a process that has just ended is one that never matches again."""
    stat = read_stat(pid)
    return stat.process if stat else Process(pid, -1)


def table() -> tuple[Stat, ...]:
    """Return every process's line."""
    stats = (read_stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return tuple(stat for stat in stats if stat)


def family(heads: Iterable[Process]) -> tuple[Stat, ...]:
    """Return those of the heads that are alive, with all their descendants."""
    stats = table()
    members = {head.pid for head in heads if any(stat.process == head for stat in stats)}
    grown = True
    while grown:
        more = {stat.process.pid for stat in stats if stat.parent in members} - members
        members |= more
        grown = bool(more)
    return tuple(stat for stat in stats if stat.process.pid in members)


def marked(beginning: str) -> tuple[Process, ...]:
    """Return every process that was started with our mark, its value beginning like this."""
    return tuple(stat.process for stat in table() if carries(stat.process.pid, f"{MARK}={beginning}"))


def carries(pid: int, beginning: str) -> bool:
    """True if a process was started with a variable that begins like this; no, where we may not look."""
    try:
        variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(variable.startswith(beginning.encode()) for variable in variables)


def end(heads: Iterable[Process], mark: str, bound_s: float = GONE_S) -> tuple[Process, ...]:
    """Kill the heads, their descendants and whatever carries the mark, until none is left; give those that stay."""
    chosen = {stat.process for stat in family(heads)}
    deadline = time.monotonic() + bound_s
    while True:
        left = {process for process in chosen if process.alive()} | set(marked(mark))
        if not left or time.monotonic() > deadline:
            return tuple(left)
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)


def boot() -> str:
    """Name the system's present life: process ids mean nothing beyond it."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
