"""Checks before an installation and before a start: each returns an obstacle, with what to do about it, or None.

A check changes nothing. All obstacles are reported at once. Standard library only.
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

# How to install a package of the system, by the program that installs packages.
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
class Obstacle:
    """One thing that stops an installation or a start, and what to do about it."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def obstacles_in(results: Iterable[Obstacle | None]) -> tuple[Obstacle, ...]:
    """Return the obstacles among the results of checks."""
    return tuple(obstacle for obstacle in results if obstacle is not None)


def package_remedy(package: str, which: Callable[[str], str | None] = shutil.which) -> str:
    """Return the command that installs a package on this kind of system."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for program, commands in _PACKAGES.items():
        if which(program):
            return commands[package].format(version=version)
    return f"install {package} with the system's package manager"


def python_obstacle(version: tuple[int, int] = sys.version_info[:2]) -> Obstacle | None:
    """Check that this Python is one that the lock was made for."""
    if version in PYTHONS:
        return None
    return Obstacle(f"this is Python {version[0]}.{version[1]}", "run it with Python 3.11 or 3.12")


def venv_obstacle(find: Callable[[str], object] = importlib.util.find_spec) -> Obstacle | None:
    """Check that Python can make environments; Debian packages that separately."""
    lacking = [module for module in ("venv", "ensurepip") if find(module) is None]
    return Obstacle(f"Python has no module {lacking[0]}", package_remedy("venv")) if lacking else None


def libpython_paths() -> tuple[Path, ...]:
    """Return the paths that this Python's shared library may have."""
    names = {sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LDLIBRARY")}
    folders = {sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"}
    shared = [name for name in names if name and (".so" in name or ".dylib" in name)]
    return tuple(Path(folder) / name for folder in folders if folder for name in shared)


def libpython_obstacle(paths: Iterable[Path] | None = None) -> Obstacle | None:
    """Check that Python's shared library is there: Flink's thread mode loads it into the JVM."""
    if any(path.exists() for path in (libpython_paths() if paths is None else paths)):
        return None
    return Obstacle("Python's shared library (libpython) is missing", package_remedy("libpython"))


def program_obstacle(name: str, which: Callable[[str], str | None] = shutil.which) -> Obstacle | None:
    """Check that a program of the system is there."""
    return None if which(name) else Obstacle(f"{name} is missing", package_remedy(name, which))


def existing(folder: Path) -> Path:
    """Return the folder itself, or the nearest parent that exists."""
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def disk_obstacles(
    needs: Iterable[tuple[Path, int]],
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> tuple[Obstacle, ...]:
    """Check that the disks have room for the bytes that each folder will get; folders on one disk add up."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        there = existing(folder)
        first, needed_before = disks.get(there.stat().st_dev, (there, 0))
        disks[there.stat().st_dev] = (first, needed_before + needed)
    return obstacles_in(_disk_obstacle(first, needed, free(first)) for first, needed in disks.values())


def _disk_obstacle(folder: Path, needed: int, free: int) -> Obstacle | None:
    if free >= needed:
        return None
    problem = f"{free / GIB:.1f} GiB are free on the disk of {folder}, {needed / GIB:.1f} GiB are needed"
    return Obstacle(problem, "make room, or set FLUORO_CACHE to a folder on another disk")


def writable_obstacle(folder: Path) -> Obstacle | None:
    """Check that this user may write to a folder, or make it."""
    there = existing(folder)
    if os.access(there, os.W_OK | os.X_OK):
        return None
    return Obstacle(f"{there} cannot be written to", "change its owner, or set FLUORO_CACHE to another folder")


def available_bytes(meminfo: str, limit: str = "max", used: str = "0") -> int:
    """Return the bytes of memory that are available: the machine's, with free swap, or fewer in a control group.

    Takes the texts of /proc/meminfo, and of the group's memory.max and memory.current.
    """
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    kib = sum(int(fields.get(name, "0").split()[0]) for name in ("MemAvailable", "SwapFree"))
    return kib * 1024 if limit.strip() == "max" else min(kib * 1024, int(limit) - int(used))


def measure_memory() -> int | None:
    """Return the bytes of memory that are available here; None where the system has no /proc/meminfo."""
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


def memory_obstacle(available: int | None, needed: int = MEMORY_NEEDED_BYTES) -> Obstacle | None:
    """Check that the stack fits into the available memory, both in bytes; unknown memory is no obstacle."""
    if available is None or available >= needed:
        return None
    problem = f"{available / GIB:.1f} GiB of memory are available, the stack takes up to {needed / GIB:.0f} GiB"
    return Obstacle(problem, "close other programs")


def port_obstacles(ports: Mapping[str, int], host: str = "127.0.0.1") -> tuple[Obstacle, ...]:
    """Check that no server listens on the named ports."""
    return tuple(
        Obstacle(f"port {port} ({name}) is taken", f"stop what listens there (ss -ltnp 'sport = :{port}')")
        for name, port in ports.items()
        if not is_port_free(port, host)
    )


def is_port_free(port: int, host: str = "127.0.0.1") -> bool:
    """True if a server can listen on a port; connections that are still closing do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def may_enter(folder: os.stat_result, uid: int, gids: Collection[int]) -> bool:
    """True if a user may enter a folder: by the mode for the owner, else for the group, else for others."""
    if folder.st_uid == uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid in gids:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def unreachable_parent(folder: Path, uid: int, gids: Collection[int]) -> Path | None:
    """Return the outermost existing folder on the path that the user may not enter; None when there is none."""
    path = [parent for parent in (folder, *folder.parents) if parent.exists()]
    return next((parent for parent in reversed(path) if not may_enter(parent.stat(), uid, gids)), None)


def reach_obstacle(folder: Path, setting: str, uid: int = -1, gids: Collection[int] = ()) -> Obstacle | None:
    """Check that PostgreSQL's user reaches a folder; the user id is -1 if the user does not exist yet."""
    closed = unreachable_parent(folder.absolute(), uid, gids)
    if closed is None:
        return None
    problem = f"PostgreSQL does not run as root, and no other user may enter {closed}"
    return Obstacle(problem, f"set {setting} to a folder outside it, such as one in /var/lib")


def before_install(needs: Iterable[tuple[Path, int]], cache: Path, *, is_root: bool) -> tuple[Obstacle, ...]:
    """Return everything that would stop an installation; `needs` are folders and the bytes that each will get."""
    checks = (
        python_obstacle(),
        venv_obstacle(),
        libpython_obstacle(),
        program_obstacle("git"),
        program_obstacle("make"),
    )
    reach = reach_obstacle(cache, "FLUORO_CACHE") if is_root else None
    return obstacles_in((*checks, writable_obstacle(cache), reach)) + disk_obstacles(needs)


def before_start(
    data: Path,
    ports: Mapping[str, int],
    *,
    postgres_user: tuple[int, Collection[int]] | None = None,
) -> tuple[Obstacle, ...]:
    """Return everything that would stop a start; `postgres_user` (uid, gids) is given when it is not this user."""
    reach = reach_obstacle(data, "FLUORO_DATA", *postgres_user) if postgres_user else None
    return obstacles_in((memory_obstacle(measure_memory()), reach)) + port_obstacles(ports)
