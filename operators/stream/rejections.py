"""When so many records are rejected that the fault is more likely ours than theirs."""

from collections import deque

WATCHED = 10_000
MOST_SHARE = 0.01
MOST_IN_A_ROW = 1_000


class TooManyRejected(RuntimeError):
    """Stop, and be looked at."""


class Rejections:
    """How many of the last records were rejected."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WATCHED)
        self._rejected = 0
        self._in_a_row = 0

    def note(self, *, rejected: bool) -> None:
        """Count one record; raises TooManyRejected over 1 % of the last 10,000, or at 1,000 in a row."""
        if len(self._recent) == WATCHED:
            self._rejected -= self._recent[0]
        self._recent.append(rejected)
        self._rejected += rejected
        self._in_a_row = self._in_a_row + 1 if rejected else 0
        if self._in_a_row >= MOST_IN_A_ROW:
            raise TooManyRejected(f"{self._in_a_row} records in a row")
        if len(self._recent) == WATCHED and self._rejected > WATCHED * MOST_SHARE:
            raise TooManyRejected(f"{self._rejected} of the last {WATCHED} records")
