"""Checks before an installation and before a start: what is wrong, and what to do, a line each.

Every check takes what it judges as arguments or measures it without changing
anything. Problems are reported all at once. Standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

GIB = 1 << 30
PYTHONS = ((3, 11), (3, 12))
MEMORY_NEEDED_BYTES = 4 * GIB

# How a package of the system is had, by the program that installs it.
_PACKAGES = {
    "apt-get": {
        "venv": "apt-get install python{version}-venv",
        "libpython": "apt-get install libpython{version}",
        "git": "apt-get install git",
        "make": "apt-get install make",
    },
    "dnf": {
        "venv": "dnf install python{version}",
        "libpython": "dnf install python{version}-libs",
        "git": "dnf install git",
        "make": "dnf install make",
    },
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


def present(found: Iterable[Problem | None]) -> tuple[Problem, ...]:
    """The problems among the answers of checks."""
    return tuple(problem for problem in found if problem is not None)


def package_remedy(package: str, which: Callable[[str], str | None] = shutil.which) -> str:
    """How this kind of system gets `package`."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for program, commands in _PACKAGES.items():
        if which(program):
            return commands[package].format(version=version)
    return f"install {package} with the system's package manager"


def python_problem(version: tuple[int, int] = sys.version_info[:2]) -> Problem | None:
    """Whether this Python is one that the lock was made for."""
    if version in PYTHONS:
        return None
    return Problem(f"this is Python {version[0]}.{version[1]}", "run it with Python 3.11 or 3.12")


def venv_problem(find: Callable[[str], object] = importlib.util.find_spec) -> Problem | None:
    """Whether environments can be made; Debian ships Python without that."""
    lacking = [module for module in ("venv", "ensurepip") if find(module) is None]
    return Problem(f"Python has no module {lacking[0]}", package_remedy("venv")) if lacking else None


def libpython_places() -> tuple[Path, ...]:
    """Where this Python's shared library may lie."""
    names = {sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LDLIBRARY")}
    folders = {sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"}
    shared = [name for name in names if name and (".so" in name or ".dylib" in name)]
    return tuple(Path(folder) / name for folder in folders if folder for name in shared)


def libpython_problem(places: Iterable[Path] | None = None) -> Problem | None:
    """Whether Python's shared library is there: Flink's thread mode loads it into the JVM."""
    if any(place.exists() for place in (libpython_places() if places is None else places)):
        return None
    return Problem("Python's shared library (libpython) is missing", package_remedy("libpython"))


def program_problem(name: str, which: Callable[[str], str | None] = shutil.which) -> Problem | None:
    """Whether a program of the system is there."""
    return None if which(name) else Problem(f"{name} is missing", package_remedy(name, which))


def existing(folder: Path) -> Path:
    """The folder itself, or the nearest parent that exists."""
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def disk_problems(
    needs: Iterable[tuple[Path, int]],
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> tuple[Problem, ...]:
    """Whether the disks hold what each folder is going to get, in bytes; folders on one disk add up."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        place = existing(folder)
        first, sum_so_far = disks.get(place.stat().st_dev, (place, 0))
        disks[place.stat().st_dev] = (first, sum_so_far + needed)
    return present(_short_disk(place, needed, free(place)) for place, needed in disks.values())


def _short_disk(place: Path, needed: int, free: int) -> Problem | None:
    if free >= needed:
        return None
    what = f"{free / GIB:.1f} GiB are free on the disk of {place}, {needed / GIB:.1f} GiB are needed"
    return Problem(what, "make room, or set FLUORO_CACHE to a folder on another disk")


def writable_problem(folder: Path) -> Problem | None:
    """Whether this user may write there, or make it."""
    place = existing(folder)
    if os.access(place, os.W_OK | os.X_OK):
        return None
    return Problem(f"{place} cannot be written to", "change its owner, or set FLUORO_CACHE to another folder")


def available_bytes(meminfo: str, limit: str = "max", used: str = "0") -> int:
    """Memory that may still be taken: of the machine (with free swap), and of the control group around us.

    Takes the texts of /proc/meminfo, memory.max and memory.current.
    """
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    kib = sum(int(fields.get(name, "0").split()[0]) for name in ("MemAvailable", "SwapFree"))
    return kib * 1024 if limit.strip() == "max" else min(kib * 1024, int(limit) - int(used))


def measure_memory() -> int | None:
    """Available bytes here; None where the system does not say."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii")
        return available_bytes(meminfo, limit, (group / "memory.current").read_text(encoding="ascii"))
    except OSError:
        return available_bytes(meminfo)


def memory_problem(available: int | None, needed: int = MEMORY_NEEDED_BYTES) -> Problem | None:
    """Whether the stack fits into memory, both in bytes."""
    if available is None or available >= needed:
        return None
    what = f"{available / GIB:.1f} GiB of memory are available, the stack takes up to {needed / GIB:.0f} GiB"
    return Problem(what, "close other programs")


def port_problems(ports: Mapping[str, int], host: str = "127.0.0.1") -> tuple[Problem, ...]:
    """Which of the named ports somebody else listens on."""
    return tuple(
        Problem(f"port {port} ({name}) is taken", f"stop what listens there (ss -ltnp 'sport = :{port}')")
        for name, port in ports.items()
        if not port_free(port, host)
    )


def port_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there; connections that are still closing do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def may_enter(folder: os.stat_result, uid: int, gids: Collection[int]) -> bool:
    """Whether a user may pass through a folder: owner, then group, then others, the first that fits decides."""
    if folder.st_uid == uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid in gids:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def unreachable_parent(folder: Path, uid: int, gids: Collection[int]) -> Path | None:
    """The outermost existing folder on the way that the user may not enter; None when the way is free."""
    way = [place for place in (folder, *folder.parents) if place.exists()]
    return next((place for place in reversed(way) if not may_enter(place.stat(), uid, gids)), None)


def reach_problem(folder: Path, setting: str, uid: int = -1, gids: Collection[int] = ()) -> Problem | None:
    """Whether PostgreSQL's user reaches the folder; as root another user runs it, one perhaps not yet made (-1)."""
    blocked = unreachable_parent(folder.absolute(), uid, gids)
    if blocked is None:
        return None
    what = f"PostgreSQL does not run as root, and no other user may enter {blocked}"
    return Problem(what, f"set {setting} to a folder outside it, such as one in /var/lib")


def before_install(needs: Iterable[tuple[Path, int]], cache: Path, *, root_user: bool) -> tuple[Problem, ...]:
    """All that would stop an installation; `needs` are folders and the bytes that each will get."""
    checks = (python_problem(), venv_problem(), libpython_problem(), program_problem("git"), program_problem("make"))
    reach = reach_problem(cache, "FLUORO_CACHE") if root_user else None
    return present((*checks, writable_problem(cache), reach)) + disk_problems(needs)


def before_start(
    data: Path,
    ports: Mapping[str, int],
    *,
    postgres_user: tuple[int, Collection[int]] | None = None,
) -> tuple[Problem, ...]:
    """All that would stop a start; `postgres_user` (uid, gids) when PostgreSQL runs as another user than this one."""
    reach = reach_problem(data, "the data folder", *postgres_user) if postgres_user else None
    return present((memory_problem(measure_memory()), reach)) + port_problems(ports)
