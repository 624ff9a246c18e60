"""The journal of a run: which studies are finished, so that a run that was interrupted goes on where it was.

A run is a folder, with `run.json` and a file of lines for each worker process. Lines are only ever appended, one for each
finished study. The last line of a process that was killed may be torn; its study is then done once more.
"""

import fcntl
import json
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from errno import ENOSPC
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from operators.errors import Unavailable

ABOUT = "run.json"
LINES = ".lines"
INTERRUPTED = "interrupted"
# What an Unavailable says whose disk is that of the journal.
JOURNAL = "journal"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Of a prefix in memory: a run over a million studies keeps a million of them.
DIGEST_BYTES = 16


class RunRefused(Exception):
    """The run cannot begin or go on; the text says why, in a line for people."""


@dataclass(frozen=True)
class Finished:
    """A study that is finished, by what its keys begin with: what was counted, and each object that was left out, and why."""

    prefix: str
    counts: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoppedWorker:
    """A worker has stopped before its studies were finished: `what` and `why` are those of an Unavailable, or INTERRUPTED."""

    what: str
    why: str


class RunJournal:
    """The lines of one worker process. It must be closed. Every method raises Unavailable if the disk takes no line."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid4()}{LINES}"
        with disk_of(self._path):
            # Without a buffer: a line that the disk has no room for is not written later either.
            self._file = self._path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        """Return the descriptor of the file of lines."""
        return self._file.fileno()

    def finish(self, finished: Finished) -> None:
        """Note that a study is finished; after this it is not done again, even if the process is killed."""
        self._write(asdict(finished))

    def stop(self, what: str, why: str = "") -> None:
        """Note that the worker stops because a server cannot be used, or somebody has interrupted it."""
        self._write(asdict(StoppedWorker(what, why)))

    def _write(self, line: Mapping[str, Any]) -> None:
        # One write, so that no line of another kind comes between, and only a kill can tear it.
        data = json.dumps(line).encode() + b"\n"
        with disk_of(self._path):
            if self._file.write(data) != len(data):
                raise OSError(ENOSPC, os.strerror(ENOSPC))


class JournalReader:
    """A reader of the lines of all workers of a run; each call of `read` goes on where the last one ended.

    A line that is damaged is left out: its study is done once more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def read(self) -> Iterator[Finished | StoppedWorker]:
        """Yield the entries that were added since the last call; a line that is not whole yet is left for the next one."""
        for path in sorted(self._folder.glob(f"*{LINES}")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    if entry := _entry(line):
                        yield entry


@dataclass
class FinishedPrefixes:
    """The studies of a run that are finished, as digests."""

    digests: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read them from a run's journal."""
        found = JournalReader(folder).read()
        return cls({_digest(entry.prefix) for entry in found if isinstance(entry, Finished)})

    def __contains__(self, prefix: str) -> bool:
        return _digest(prefix) in self.digests

    def __len__(self) -> int:
        return len(self.digests)

    def add(self, prefix: str) -> None:
        """Add a study."""
        self.digests.add(_digest(prefix))


class Run:
    """A run of a batch pipeline in a folder of its own, for the process that starts it. It must be closed."""

    def __init__(self, folder: Path, about: Mapping[str, Any], lock: int) -> None:
        self.folder = folder
        self._about = dict(about)
        self._lock = lock

    @classmethod
    def opened(cls, runs: Path, name: str, about: Mapping[str, Any], *, again: bool = False) -> Self:
        """Begin the run of this name, or go on with it; with `again`, begin it anew if it is finished or interrupted.

        `about` is what the run does: a run goes on only with the same. Raises RunRefused, also while another process has it
        open.
        """
        folder = runs / name
        if not NAME.fullmatch(name):
            raise RunRefused(f"{name!r} should be 1 to 64 of A-Z, a-z, 0-9, ., _ and -")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise RunRefused(f"{folder} cannot be used: {error.strerror}") from error
        return cls._locked(folder, {**about, "began_at": _now()}, lock, again=again)

    @classmethod
    def _locked(cls, folder: Path, about: Mapping[str, Any], lock: int, *, again: bool) -> Self:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(folder, _begun(folder, about, again=again), lock)
        except BlockingIOError:
            os.close(lock)
            raise RunRefused(f"run {folder.name} is going on in another process") from None
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    @property
    def finished_at(self) -> str | None:
        """Return when the run was finished; None if it is not."""
        found: str | None = self._about.get("finished_at")
        return found

    def finish(self) -> None:
        """Note that all studies of the run are finished."""
        self._about["finished_at"] = _now()
        _write_about(self.folder, self._about)


def add_run(parser: ArgumentParser) -> None:
    """Add the arguments that name a run."""
    name = "the run's name: one that was interrupted goes on where it was (default: a new one)"
    parser.add_argument("--run", metavar="NAME", help=name)
    parser.add_argument("--again", action="store_true", help="begin the run anew, also if it is finished")


def run_name(options: Namespace, name: str) -> str:
    """Return the name of the run: as given, or one that is new at this moment."""
    return options.run or f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _begun(folder: Path, about: Mapping[str, Any], *, again: bool) -> Mapping[str, Any]:
    """Return what is noted about a run, after it was begun if it is new or begins anew; raises RunRefused."""
    if again:
        (folder / ABOUT).unlink(missing_ok=True)
    if not (before := _about(folder)):
        # There are lines if a run was killed while it began anew.
        for path in folder.glob(f"*{LINES}"):
            path.unlink()
        _write_about(folder, about)
        return about
    if _without_times(before) != _without_times(about):
        told = ", ".join(f"{name} {value}" for name, value in _without_times(before).items()) or "everything"
        raise RunRefused(f"run {folder.name} was begun with {told}: name another run, or begin it anew with --again")
    return before


def _about(folder: Path) -> dict[str, Any]:
    """Return what is noted about a run, nothing if it is new; raises RunRefused."""
    try:
        found: dict[str, Any] = dict(json.loads((folder / ABOUT).read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise RunRefused(f"{folder / ABOUT} is damaged: name another run, or begin it anew with --again") from None
    return found


def _without_times(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name not in ("began_at", "finished_at")}


def _write_about(folder: Path, about: Mapping[str, Any]) -> None:
    write_whole(folder / ABOUT, json.dumps(about, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file beside the old one, and put it in its place; raises Unavailable if the disk does not take it."""
    new = path.with_name(f"{path.name}.new")
    with disk_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text)
        new.replace(path)


@contextmanager
def disk_of(path: Path) -> Iterator[None]:
    """Raise Unavailable in place of an error of the disk during the block."""
    try:
        yield
    except OSError as error:
        raise Unavailable(JOURNAL, f"{path}: {error.strerror}") from error


def _entry(line: bytes) -> Finished | StoppedWorker | None:
    """Return the entry of a line; None if it is damaged."""
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        fields: dict[str, Any] = json.loads(line)
        if "prefix" not in fields:
            return StoppedWorker(**fields)
        finished = Finished(**fields)
        values = (finished.prefix, *finished.counts.values(), *finished.left_out.values())
        wanted = (str, *(int for _ in finished.counts), *(str for _ in finished.left_out))
        return finished if all(map(isinstance, values, wanted)) else None
    return None


def _digest(prefix: str) -> bytes:
    return blake2b(prefix.encode(), digest_size=DIGEST_BYTES).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
