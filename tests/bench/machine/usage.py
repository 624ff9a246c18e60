"""CPU time and memory of families of processes, and of the whole machine, as /proc shows them (proc(5))."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.supervision.processes import Process

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name: parent; user, system, ended children's user and system time; start.
PARENT, TIMES, STARTED = 1, slice(11, 15), 19
# Fields of the first line of /proc/stat in which a processor does nothing: idle, iowait.
IDLE = (3, 4)


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far: of each family, of this process and its ended children, of the whole machine."""

    families: Mapping[str, float]
    ours: float
    machine: float

    def since(self, before: "Usage") -> "Usage":
        """Return what was used since then; a family's process that has ended meanwhile counts no more."""
        used = {name: max(0.0, now - before.families.get(name, 0.0)) for name, now in self.families.items()}
        return Usage(used, self.ours - before.ours, self.machine - before.machine)

    @property
    def total(self) -> float:
        """Return the CPU seconds of all families."""
        return sum(self.families.values())

    @property
    def others(self) -> float:
        """Return the CPU seconds of everything that is neither a family nor this process and its ended children."""
        return max(0.0, self.machine - self.total - self.ours)


@dataclass(frozen=True)
class Stat:
    """One row of the process table."""

    process: Process
    parent: int
    cpu_s: float


def read(heads: Mapping[str, Process]) -> Usage:
    """Return what the families of these heads, and the machine, have used so far."""
    rows = table()
    families = {name: sum(rows[pid].cpu_s for pid in members(rows, head)) for name, head in heads.items()}
    return Usage(families, sum(os.times()[:4]), machine_cpu_s())


def table() -> dict[int, Stat]:
    """Return the process table, by process id."""
    rows = (stat_of(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return {row.process.pid: row for row in rows if row}


def stat_of(pid: int) -> Stat | None:
    """Return the row of a process; None when it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    ticks = sum(map(int, fields[TIMES]))
    return Stat(Process(pid, int(fields[STARTED])), int(fields[PARENT]), ticks / TICKS)


def members(rows: Mapping[int, Stat], head: Process) -> set[int]:
    """Return the ids of a head, if it lives, and of its descendants."""
    found = {head.pid} if head.pid in rows and rows[head.pid].process == head else set()
    has_grown = True
    while has_grown:
        children = {pid for pid, row in rows.items() if row.parent in found} - found
        found |= children
        has_grown = bool(children)
    return found


def machine_cpu_s() -> float:
    """Return the seconds that all processors have worked since the boot."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    return sum(int(field) for index, field in enumerate(fields) if index not in IDLE) / TICKS


def memory_bytes(heads: Iterable[Process]) -> int:
    """Return the resident bytes of the families; what a family shares in memory, as PostgreSQL's does, counts once."""
    rows = table()
    return sum(family_bytes(members(rows, head)) for head in heads)


def family_bytes(pids: Iterable[int]) -> int:
    """Return the resident bytes of some processes that share memory with each other."""
    found = [resident(pid) for pid in pids]
    return sum(own for own, _ in found) + max((shared for _, shared in found), default=0)


def resident(pid: int) -> tuple[int, int]:
    """Return the bytes of a process that are its own, and those in shared memory; zeros when it has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0, 0
    values = {
        name: int(value.split()[0]) << 10
        for name, _, value in (line.partition(":") for line in lines)
        if name.startswith("Rss")
    }
    return values.get("RssAnon", 0) + values.get("RssFile", 0), values.get("RssShmem", 0)
