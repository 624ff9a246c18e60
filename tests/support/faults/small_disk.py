"""A small disk in memory, which can be full; only root may mount one."""

import ctypes
import functools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PIECE = bytes(4096)
CLONE_NEWNS = 0x20000  # unshare(2)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """Mount a disk of this size on a folder for the block; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        mount_for_this_run_alone()
    except OSError as why:
        pytest.skip(f"no small disk can be mounted here: {why}")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a process may still have a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@functools.cache
def mount_for_this_run_alone() -> None:
    """Keep what this thread, and the processes that it starts from now on, will mount from all others.

    These mounts are gone with the last of these processes, so that a killed run leaves none. Raises OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWNS):
        raise OSError(number := ctypes.get_errno(), os.strerror(number))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk to its last byte; return the file that takes the space."""
    path = folder / "filler"
    # Others may write at the same time.
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(PIECE):
            pass
    return path


def used_bytes(folder: Path) -> int:
    """Return how many bytes of a disk are taken."""
    space = os.statvfs(folder)
    return (space.f_blocks - space.f_bfree) * space.f_frsize
