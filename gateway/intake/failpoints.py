"""Named points of the write path at which a test makes this process kill itself; only tests may set one."""

import os
import signal
from collections.abc import Callable
from itertools import count

# Called with the name of the point that the process has reached: schemas/settings/intake.py lists them.
Reached = Callable[[str], None]


def pass_by(point: str) -> None:
    """Do nothing: the process goes on, as all do outside tests."""


def armed(failpoint: str) -> Reached:
    """Return the function that kills this process at a point: `after_put`, or `after_put:3` the third time; '': never."""
    if not failpoint:
        return pass_by
    fatal, _, times = failpoint.partition(":")
    passed = count(1)

    def reached(point: str) -> None:
        if point == fatal and next(passed) == int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return reached
