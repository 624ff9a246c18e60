"""When a program that ends again and again is started again, and when it is given up. No clock: durations are arguments."""

from dataclasses import dataclass

MAX_STARTS = 5
BACK_OFF_S = 0.2
MAX_BACK_OFF_S = 5.0
# A program that ran for this long is started again without waiting.
LONG_RUN_S = 10.0


@dataclass
class Restarts:
    """How a program's starts went: how many there were, and how many of the last ones in a row went badly.

    A start was unhealthy if the program ended before it was ready; a run was short if it was not ready for LONG_RUN_S.
    """

    starts: int = 0
    unhealthy: int = 0
    short_runs: int = 0

    def add(self, ran_s: float, *, was_healthy: bool) -> None:
        """Count a run that has ended after `ran_s` seconds."""
        self.unhealthy = 0 if was_healthy else self.unhealthy + 1
        self.short_runs = 0 if was_healthy and ran_s > LONG_RUN_S else self.short_runs + 1

    @property
    def is_hopeless(self) -> bool:
        """True after MAX_STARTS starts in a row without becoming ready."""
        return self.unhealthy >= MAX_STARTS

    def wait_s(self) -> float:
        """Return the seconds to wait before the next start; they double with every short run."""
        return min(BACK_OFF_S * 2 ** (self.short_runs - 1), MAX_BACK_OFF_S) if self.short_runs else 0
