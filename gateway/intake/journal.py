"""An append-only file of JSON lines that belongs to one process at a time, and says so by its lock.

Without fsync: it survives a killed process; what a lost disk takes is the verify pipeline's part.
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
UNMADE = ".new"
# Nothing takes so long to be made.
UNMADE_S = 60.0


class Journal:
    """One locked file. Raises OSError when the disk refuses."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size_bytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make a new, empty file of our own."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid4()}{SUFFIX}"
        return cls(path, _make(path, ()))

    @classmethod
    def ownerless(cls, folder: Path) -> Iterator[Self]:
        """Take over every file whose process is gone, one after the other."""
        _sweep(folder)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            descriptor = _take(path)
            if descriptor is not None:
                yield cls(path, descriptor)

    def lines(self) -> list[Line]:
        """Read what is there; a last line that was torn by a kill is cut off."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)
            self.size_bytes = whole
        return [orjson.loads(line) for line in content[:whole].splitlines()]

    def append(self, line: Line) -> None:
        """Add a line."""
        data = orjson.dumps(line) + b"\n"
        if os.write(self._descriptor, data) != len(data):
            os.ftruncate(self._descriptor, self.size_bytes)
            raise OSError(errno.ENOSPC, "the outbox took a part of a line")
        self.size_bytes += len(data)

    def replace(self, lines: Iterable[Line]) -> None:
        """Put these lines in place of all that is there, in one step."""
        fresh = _make(self.path, lines)
        os.close(self._descriptor)
        self._descriptor = fresh
        self.size_bytes = os.fstat(fresh).st_size

    def delete(self) -> None:
        """Remove the file and let it go."""
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> None:
        """Return the file a name under which no process looks for it, and let it go."""
        self.path.rename(self.path.with_suffix(".unreadable"))
        self.close()

    def close(self) -> None:
        """Let the file go: from here on it has no owner, and takes nothing more."""
        os.close(self._descriptor)
        self._descriptor = -1


def _sweep(folder: Path) -> None:
    """Remove what processes left that died while they made a file: it never had its name, and stands for nothing."""
    for path in folder.glob(f"*{UNMADE}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNMADE_S:
                path.unlink()


def _make(path: Path, lines: Iterable[Line]) -> int:
    # Locked before it has the name under which others look for it.
    hidden = path.with_suffix(UNMADE)
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


def _take(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner may have replaced or removed it between the open and the lock.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
