"""A clock that is set wrong, for a process of the project: `python -m tests.support.machine.moved_clock FILE MODULE`.

The module runs as `python -m MODULE` does, but the clock that people set (time.time, datetime.now) is ahead of the
machine's by as many seconds as the file says at that moment. Clocks that nobody sets stay as they are.
"""

import datetime as dt
import runpy
import sys
import time
from pathlib import Path

TRUE_TIME, TRUE_DATETIME = time.time, dt.datetime


class _AlsoTrue(type):
    """Makes every true datetime an instance of the moved class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, TRUE_DATETIME)


class MovedDatetime(dt.datetime, metaclass=_AlsoTrue):
    """A datetime whose present moment is that of the moved clock."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        """Return the present moment by the moved clock."""
        return TRUE_DATETIME.fromtimestamp(time.time(), tz)


def move(ahead_s: Path) -> None:
    """Move the clock of this process, before it imports anything that looks at it."""
    time.time = lambda: TRUE_TIME() + float(ahead_s.read_text())
    dt.datetime = MovedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    _, moved_by, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    move(Path(moved_by))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
