"""The passes over everything: the result of the last one, which outlives every process, and when the next one is due."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from operators.errors import Unavailable
from operators.integrity.comparison import KINDS
from pipelines.batch.journal import write_whole

# In the folder of all runs.
LAST, FIRST_START = "last-verification.json", "verification-since"


@dataclass(frozen=True)
class LastPass:
    """The last pass that has ended: how many objects it has read, and how many findings of each kind it has."""

    began_at: datetime
    finished_at: datetime
    objects: int
    found: Mapping[str, int]


def read_last(runs: Path) -> LastPass | None:
    """Return the last pass; None if none has ended."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        kept = json.loads((runs / LAST).read_text())
        return LastPass(
            datetime.fromisoformat(kept["began_at"]),
            datetime.fromisoformat(kept["finished_at"]),
            kept["objects"],
            {kind: kept["found"].get(kind, 0) for kind in KINDS},
        )
    return None


def keep_last(runs: Path, report: Mapping[str, Any], at: datetime) -> None:
    """Keep the report of a pass as the last one, unless a later one is kept: an old run may be reported again.

    A moment after `at`, the present one, was noted by a clock that was ahead.
    """
    last = read_last(runs)
    if last is None or not datetime.fromisoformat(report["finished_at"]) < last.finished_at <= at:
        write_whole(runs / LAST, json.dumps(report, indent=2) + "\n")


def first_start(runs: Path, now: datetime) -> datetime:
    """Return when passes were begun by themselves for the first time: now, unless it is noted.

    A disk that takes no note is no reason to fail: the stack, which goes down with what never starts, does without passes.
    """
    noted = runs / FIRST_START
    with suppress(OSError, ValueError):
        return datetime.fromisoformat(noted.read_text().strip())
    with suppress(Unavailable):
        write_whole(noted, now.isoformat() + "\n")
    return now


def due_at(last: LastPass | None, started: datetime, every_s: float, first_s: float, at: datetime) -> datetime:
    """Return when the next pass begins, as seen at a moment: so long after the last one began, or after the first start."""
    began, wait_s = (last.began_at, every_s) if last else (started, first_s)
    # What is still to come was noted by a clock that was ahead; nobody waits until it has come.
    return at if began > at else began + timedelta(seconds=wait_s)


def now() -> datetime:
    """Return the present time of this machine, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
