"""Named points of a batch's flush at which the process of the job kills itself; only tests may set them.

A process in the same environment is started in its place, so a point is not named by a setting, but by a file: the
process that dies removes it first, and the next one goes on.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operators.catalog.flush import flush
from operators.catalog.ports import Catalog, CatalogTables
from operators.stream.origin import Origin
from operators.stream.step import Flushed, FlushFunction, Record

# Before anything of the batch is written, before the commit of its transaction, and before its events are handed to
# Flink: what a checkpoint's barrier waits for.
POINTS = ("before_flush", "before_commit", "after_commit")

# Called with the name of the point that the process has reached.
Reached = Callable[[str], None]


def armed(failpoint_file: str) -> Reached:
    """Return a function that kills this process at the point that the file names, and removes the file."""

    def reached(point: str) -> None:
        named = Path(failpoint_file)
        if named.exists() and named.read_text() == point:
            named.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


@dataclass(frozen=True)
class CatalogWithFailpoint:
    """A catalog that reaches a point before each commit."""

    catalog: Catalog
    reached: Reached

    @contextmanager
    def transaction(self, shard: int) -> Iterator[CatalogTables]:
        """Open the catalog's own transaction."""
        with self.catalog.transaction(shard) as tables:
            yield tables
            self.reached("before_commit")


def with_failpoints(catalog: Catalog, origin: Origin, failpoint_file: str) -> FlushFunction:
    """Return the flush into a catalog, which reaches every point on its way."""
    reached = armed(failpoint_file)
    catalog = CatalogWithFailpoint(catalog, reached)

    def reaching(shard: int, head: bytes | None, records: tuple[Record, ...], now: float) -> Flushed:
        reached("before_flush")
        flushed = flush(catalog, shard, head, records, now, origin=origin)
        reached("after_commit")
        return flushed

    return reaching
