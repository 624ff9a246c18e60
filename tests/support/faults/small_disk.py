"""A small disk in memory, which can be full; only root may mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PIECE = bytes(4096)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """Mount a disk of this size on a folder for the block; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a process may still have a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)


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
