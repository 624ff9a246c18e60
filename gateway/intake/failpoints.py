"""Named points of the write path at which this process kills itself; only tests may set a point."""

import os
import signal
from collections.abc import Callable
from itertools import count

# Called with the name of the point that the process has reached; schemas/settings/intake.py lists the names.
Reached = Callable[[str], None]


def pass_by(point: str) -> None:
    """Do nothing, as outside tests."""


def armed(failpoint: str) -> Reached:
    """Return a function that kills this process at a point: `after_put`, or `after_put:3` for the third time; '': never."""
    if not failpoint:
        return pass_by
    fatal, _, times = failpoint.partition(":")
    passed = count(1)

    def reached(point: str) -> None:
        if point == fatal and next(passed) == int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return reached
