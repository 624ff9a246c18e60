"""The processes of this machine, as /proc lists them: families, processes that carry a mark, and how to end them."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Every process of one run of the stack has this environment variable, which its descendants inherit.
MARK = "FLUORO_RUN"
END_WITHIN_S = 10.0


@dataclass(frozen=True)
class Process:
    """A process id, and when the process started (clock ticks since boot): a later process may get the same id."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """True if the process still runs; a zombie does not."""
        stat = read_stat(self.pid)
        return stat is not None and stat.process == self


@dataclass(frozen=True)
class ProcessStat:
    """One row of the process table."""

    process: Process
    parent: int
    rss_bytes: int


def read_stat(pid: int) -> ProcessStat | None:
    """Return the row of a process; None when it has ended or is a zombie (proc(5), stat)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return ProcessStat(Process(pid, int(fields[18])), int(fields[0]), int(fields[20]) * os.sysconf("SC_PAGE_SIZE"))


def identify(pid: int) -> Process:
    """Return the process that has this id now; if it has just ended, a Process that is never alive."""
    stat = read_stat(pid)
    return stat.process if stat else Process(pid, -1)


def table() -> tuple[ProcessStat, ...]:
    """Return the rows of all processes."""
    stats = (read_stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return tuple(stat for stat in stats if stat)


def family(heads: Iterable[Process]) -> tuple[ProcessStat, ...]:
    """Return the rows of the heads that are alive, and of all their descendants."""
    stats = table()
    members = {head.pid for head in heads if any(stat.process == head for stat in stats)}
    has_grown = True
    while has_grown:
        children = {stat.process.pid for stat in stats if stat.parent in members} - members
        members |= children
        has_grown = bool(children)
    return tuple(stat for stat in stats if stat.process.pid in members)


def marked(prefix: str) -> tuple[Process, ...]:
    """Return every process that was started with a mark that begins with `prefix`."""
    return tuple(stat.process for stat in table() if has_variable(stat.process.pid, f"{MARK}={prefix}"))


def has_variable(pid: int, prefix: str) -> bool:
    """True if a process was started with a variable NAME=VALUE that begins with `prefix`; False if we may not read them."""
    try:
        variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(variable.startswith(prefix.encode()) for variable in variables)


def end(heads: Iterable[Process], mark: str, within_s: float = END_WITHIN_S) -> tuple[Process, ...]:
    """Kill the heads, their descendants and every process with the mark; return those that have not ended in time."""
    chosen = {stat.process for stat in family(heads)}
    deadline = time.monotonic() + within_s
    while True:
        left = {process for process in chosen if process.is_alive()} | set(marked(mark))
        if not left or time.monotonic() > deadline:
            return tuple(left)
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)


def boot_id() -> str:
    """Return the id of the system's present boot: process ids mean nothing after the next boot."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
