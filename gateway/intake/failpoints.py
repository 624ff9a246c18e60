"""Named points of the write path at which a test has this process die. Armed by a setting that is refused elsewhere."""

import os
import signal
from collections.abc import Callable
from itertools import count

# Called with the name of the point that is reached: schemas/settings/intake.py lists them.
Reached = Callable[[str], None]


def pass_by(point: str) -> None:
    """Go on: what every process does that no test has armed."""


def armed(failpoint: str) -> Reached:
    """Return what kills this process at a point: `after_put`, or `after_put:3` for its third passing; '' for never."""
    if not failpoint:
        return pass_by
    named, _, times = failpoint.partition(":")
    passed = count(1)

    def reached(point: str) -> None:
        if point == named and next(passed) == int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return reached
