"""A lock between installers: a locked file, which child processes can keep locked. Standard library only."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.install.subprocesses import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POLL_S = 0.2


@contextmanager
def locked(path: Path, say: Callable[[str], None], stopping: threading.Event | None = None) -> Iterator[int]:
    """Hold the lock for the block and yield its file descriptor; waits, and says so, while another process holds it.

    A child process that inherits the descriptor keeps the lock after this process has ended. Raises Stopped when `stopping` is set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _try_lock(descriptor):
            say(f"Waiting for another installation, which holds {path} ...")
            _wait(descriptor, stopping or threading.Event())
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(descriptor: int, stopping: threading.Event) -> None:
    # Polled: a thread that blocks in flock could not be stopped.
    while not _try_lock(descriptor):
        if stopping.wait(POLL_S):
            raise Stopped


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
