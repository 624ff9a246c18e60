"""What a section of the benchmarks works with: the archives in turns, the rounds, and where it may write."""

import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.running import RunningStack
from tests.audit.ledger import Ledger
from tests.bench.archives import FLUORO, Archive
from tests.bench.report.rounds import Row
from tests.support.machine.debian_tools import Programs

READ_ROUNDS = 3
# Where files lie in memory alone, on Linux, and the room that those of a load need.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 10**9


@dataclass(frozen=True)
class Plan:
    """A run: our stack, all archives (ours first), the programs of dcmtk, the ledger of what our archive has acknowledged.

    `is_fresh` is true if the stack has just been started; `is_slow` asks for the work that takes long, too.
    """

    stack: RunningStack
    archives: Sequence[Archive]
    dcmtk: Programs
    ledger: Ledger
    folder: Path
    rounds: int = 5
    is_fresh: bool = True
    is_slow: bool = False
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(time.time_ns() % 10**9))

    @property
    def ours(self) -> Archive:
        """Return our archive."""
        return next(archive for archive in self.archives if archive.name == FLUORO)

    @property
    def read_rounds(self) -> int:
        """Return the rounds of reads and searches, which vary less and take longer to prepare."""
        return min(self.rounds, READ_ROUNDS)

    def in_turns(self, number: int) -> list[Archive]:
        """Return the archives in another order in each round, so that each comes first as often."""
        start = number % len(self.archives)
        return [*self.archives[start:], *self.archives[:start]]

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Make a folder for the files of one load, in memory if there is room, and remove it after the block.

        On a disk they would weigh on the archive that comes first, whose syncs write them too, and once removed on all:
        ext4 passes over each inode that was freed in the last minutes, whenever it makes a file.
        """
        folder = Path(tempfile.mkdtemp(prefix="fluoro-bench-", dir=MEMORY if has_room(MEMORY) else self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


Section = Callable[[Plan], list[Row]]


def has_room(memory: Path) -> bool:
    """True if the files of a load may be written into this folder, and have room there."""
    return os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM_BYTES


def say(line: str) -> None:
    """Print a line of progress, which does not belong to the results."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()
