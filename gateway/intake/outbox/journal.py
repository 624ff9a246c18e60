"""An append-only file of JSON lines that belongs to the one process that holds its lock.

It is written without fsync: the lines survive a killed process, not a lost disk.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson

Line = dict[str, Any]

SUFFIX = ".jsonl"
UNFINISHED = ".new"
# A new file is written in far less time; the process that began an older unfinished file is dead.
UNFINISHED_S = 60.0


class Journal:
    """One file and its lock. Every method raises OSError when the disk fails or is full."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size_bytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Return a new, empty journal that belongs to this process."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid4()}{SUFFIX}"
        return cls(path, _write(path, ()))

    @classmethod
    def ownerless(cls, folder: Path) -> Iterator[Self]:
        """Take over every journal whose process is dead, one after the other."""
        _sweep(folder)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            descriptor = _lock(path)
            if descriptor is not None:
                yield cls(path, descriptor)

    def lines(self) -> list[Line]:
        """Return all lines; a last line that a kill has cut short is removed from the file."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)
            self.size_bytes = whole
        return [orjson.loads(line) for line in content[:whole].splitlines()]

    def append(self, line: Line) -> None:
        """Add a line; when the disk takes only a part of it, that part is removed again."""
        data = orjson.dumps(line) + b"\n"
        if os.write(self._descriptor, data) != len(data):
            os.ftruncate(self._descriptor, self.size_bytes)
            raise OSError(errno.ENOSPC, "the disk took only a part of a line of the outbox")
        self.size_bytes += len(data)

    def replace(self, lines: Iterable[Line]) -> None:
        """Replace the whole file by these lines, atomically."""
        fresh = _write(self.path, lines)
        os.close(self._descriptor)
        self._descriptor = fresh
        self.size_bytes = os.fstat(fresh).st_size

    def delete(self) -> None:
        """Remove the file, and close it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> None:
        """Rename the file to a name under which no process looks for it, and close it."""
        self.path.rename(self.path.with_suffix(".unreadable"))
        self.close()

    def close(self) -> None:
        """Close the file and release its lock; the journal then has no owner, and this object must not be used."""
        os.close(self._descriptor)
        self._descriptor = -1


def _sweep(folder: Path) -> None:
    """Remove the unfinished journals of processes that died while they wrote them; nothing reads such a file."""
    for path in folder.glob(f"*{UNFINISHED}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNFINISHED_S:
                path.unlink()


def _write(path: Path, lines: Iterable[Line]) -> int:
    # The file is locked before it gets the name by which other processes find it.
    hidden = path.with_suffix(UNFINISHED)
    descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.writelines(orjson.dumps(line) + b"\n" for line in lines)
        hidden.rename(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The owner may have replaced or removed the file between the open and the lock.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
