"""Lines about the steps of the demo, with the time that each took."""

import time
from dataclasses import dataclass

from deploy.local.report import say


@dataclass
class Stopwatch:
    """Print every step that is done, with the seconds since the start and since the step before."""

    began: float
    last: float

    def print(self, step: str) -> None:
        """Print a step that is done."""
        now = time.monotonic()
        say(f"{now - self.began:6.1f} s  {step} ({now - self.last:.1f} s)")
        self.last = now
