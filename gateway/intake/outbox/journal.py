"""An append-only file of JSON lines that belongs to the one process that holds its lock.

It is written without fsync: the lines survive a killed process, not a lost disk. The place of a line is the offset of
its first byte; places change only when the file is rewritten.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import orjson

Line = dict[str, Any]

SUFFIX = ".jsonl"
UNFINISHED = ".new"
# Lines that are kept for a person to examine; no process reads such a file. Renamed to a journal, it replaces none.
ASIDE = "kept-{}.aside"
# A new file is written to all the time until it is finished; the process that left one alone for longer is dead.
UNFINISHED_S = 60.0
# The line of an intent has about 900 bytes.
READ_BYTES = 2048
COPY_BYTES = 2**20


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
        # The file is locked before it gets the name by which other processes find it.
        descriptor = _create(path.with_suffix(UNFINISHED))
        try:
            path.with_suffix(UNFINISHED).rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    @staticmethod
    def paths(folder: Path) -> list[Path]:
        """Return the path of every journal in a folder; unfinished files of dead processes are removed."""
        _sweep(folder)
        return sorted(folder.glob(f"*{SUFFIX}"))

    @classmethod
    def take_over(cls, path: Path) -> Self | None:
        """Return the journal of a dead process, which now belongs to this one; None if its process lives."""
        descriptor = _lock(path)
        return None if descriptor is None else cls(path, descriptor)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line as it was written, with its place; a last line that a kill cut short is removed."""
        place = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._descriptor, place)
                    self.size_bytes = place
                    return
                yield place, line
                place += len(line)

    def append(self, line: Line) -> int:
        """Add a line and return its place; when the disk takes only a part of it, that part is removed again."""
        data, place = orjson.dumps(line) + b"\n", self.size_bytes
        if os.write(self._descriptor, data) != len(data):
            os.ftruncate(self._descriptor, place)
            raise OSError(errno.ENOSPC, "the disk took only a part of a line of the outbox")
        self.size_bytes += len(data)
        return place

    def read(self, place: int) -> Line:
        """Return the line at a place; raises OSError also for a line that is no longer what was written."""
        size_bytes = READ_BYTES
        while b"\n" not in (data := os.pread(self._descriptor, size_bytes, place)) and len(data) == size_bytes:
            size_bytes *= 2
        try:
            line: Line = orjson.loads(data[: data.index(b"\n")])
        except ValueError as error:
            raise OSError(errno.EIO, "a line of the outbox cannot be read again") from error
        return line

    def clear(self) -> None:
        """Remove all lines."""
        os.ftruncate(self._descriptor, 0)
        self.size_bytes = 0

    def replacement(self) -> "Replacement":
        """Return a new file that will take this one's place; lines may be appended to the journal meanwhile."""
        return Replacement(self)

    def replace(self, descriptor: int) -> int:
        """Go on with another file that has been given this one's name; return the descriptor of the replaced file."""
        replaced, self._descriptor = self._descriptor, descriptor
        self.size_bytes = os.fstat(descriptor).st_size
        return replaced

    def copy(self, start: int, descriptor: int) -> None:
        """Append all bytes of the file from an offset on to another file."""
        while data := os.pread(self._descriptor, COPY_BYTES, start):
            _write(descriptor, data)
            start += len(data)

    def set_aside(self, lines: Iterable[bytes]) -> Path:
        """Append lines to the file beside this one that is kept for a person to examine; return its path.

        A process that is killed before it has finished the journal leaves it to another one, which sets them aside again.
        """
        path = self.path.with_name(ASIDE.format(self.path.stem))
        with path.open("ab") as file:
            file.writelines(lines)
        return path

    def delete(self) -> None:
        """Remove the file, and close it even if it cannot be removed."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file and release its lock; the journal then has no owner, and this object must not be used."""
        os.close(self._descriptor)
        self._descriptor = -1


class Replacement:
    """A file that is written to replace a journal, over as many turns of the event loop as it takes.

    It gets the lines that are added to it, then all that was appended to the journal since it was begun. Leaving the
    block before `finish` removes it; the journal then stays as it is. Every method raises OSError as a journal's do.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # What lies behind this offset is appended after the replacement was begun.
        self.begun_at_bytes = journal.size_bytes
        self.size_bytes = 0
        self._path = journal.path.with_suffix(UNFINISHED)
        self._descriptor = _create(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)

    def add(self, lines: Iterable[Line]) -> list[int]:
        """Add lines; return the place of each."""
        written = [orjson.dumps(line) + b"\n" for line in lines]
        places = []
        for data in written:
            places.append(self.size_bytes)
            self.size_bytes += len(data)
        _write(self._descriptor, b"".join(written))
        return places

    def finish(self) -> int:
        """Add what was appended to the journal meanwhile, and take its place, atomically.

        Returns the descriptor of the replaced file, which the caller closes.
        """
        self._journal.copy(self.begun_at_bytes, self._descriptor)
        self._path.rename(self._journal.path)
        replaced, self._descriptor = self._journal.replace(self._descriptor), -1
        return replaced


def _sweep(folder: Path) -> None:
    """Remove the unfinished journals of processes that died while they wrote them; nothing reads such a file."""
    for path in folder.glob(f"*{UNFINISHED}"):
        # Another process may have removed it; one that cannot be removed does no harm.
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > UNFINISHED_S:
                path.unlink()


def _create(path: Path) -> int:
    """Return the descriptor of a new, empty, locked file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, "the disk took only a part of the lines of the outbox")


def _lock(path: Path) -> int | None:
    """Return the descriptor of a file whose process is dead, locked by this one; None if the process lives."""
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
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
