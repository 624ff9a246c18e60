"""The time of the object store, as a process knows it from the dates of the store's answers.

What is shown of an instance is what was stored first, whichever gateway stored it. So no gateway dates by its machine's
clock, which may be hours from the truth, but by the one clock that all gateways have in common: the store's.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from operators.errors import Unavailable

# The resolution of an HTTP date.
SECOND = 1.0
# Answers that leave no more room than this are enough to date by. Those of more than a second always come as near to it
# as their store is fast, since the store's clock goes from one second to the next among them.
PRECISE_S = 0.1
ENOUGH_S = 1.1


def since_boot() -> float:
    """Return the seconds since the machine started: nobody sets this clock, and it runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StoreClock:
    """An estimate of the store's clock; both clocks of the machine are arguments, in seconds.

    An answer of the store says in which second its clock was at some moment between the request and the answer. The
    estimate begins with `machine`, the clock that is set (Unix time), and from then on follows `steady`, the clock that
    nobody sets. It changes only when an answer contradicts it, and then by the least that ends the contradiction. So
    the clock of a machine that is right is taken as it is, without a jump from second to second; one that is wrong is
    known to a second after one answer, and to the time of a request after some; and one that is set while the process
    runs changes nothing.
    """

    def __init__(self, machine: Callable[[], float] = time.time, steady: Callable[[], float] = since_boot) -> None:
        self.steady = steady
        self._machine = machine
        # Unix time by the store's clock, less `steady`; and the least and the most that answers leave room for.
        self.offset = machine() - steady()
        self._least, self._most = -float("inf"), float("inf")
        self._first_answer_at: float | None = None
        # True once the answers are enough to date by.
        self.is_known = False
        self._last_us = 0

    def learn(self, second: float, asked: float, answered: float) -> float:
        """Take over the date of an answer: a Unix time without its fraction, and `steady` before and after.

        Returns by how many seconds the estimate has changed: 0 in nearly all cases.
        """
        least, most = second - answered, second + SECOND - asked
        corrected = min(max(self.offset, least), most)
        change, self.offset = corrected - self.offset, corrected
        if not self.is_known:
            self._narrow(least, most, answered)
        return change

    def now(self) -> datetime:
        """Return the present time in UTC, to date what is written: later at each call, even if the estimate goes back.

        Raises Unavailable("store-clock") before `is_known`.
        """
        if not self.is_known:
            raise Unavailable("store-clock")
        self._last_us = max(self._last_us + 1, int(self._estimate() * 1_000_000))
        return datetime.fromtimestamp(self._last_us / 1_000_000, UTC)

    def signing_time(self) -> datetime:
        """Return the estimate in UTC, to sign a request; before the first answer it is the machine's time."""
        return datetime.fromtimestamp(self._estimate(), UTC)

    def ahead_s(self) -> float:
        """Return by how many seconds the store's clock is ahead of the machine's at present."""
        return self._estimate() - self._machine()

    def _narrow(self, least: float, most: float, answered: float) -> None:
        """Take over the room that an answer leaves; answers that contradict each other begin anew."""
        self._least, self._most = max(self._least, least), min(self._most, most)
        if self._least > self._most:
            self._least, self._most = least, most
        if self._first_answer_at is None:
            self._first_answer_at = answered
        is_enough = answered - self._first_answer_at >= ENOUGH_S
        self.is_known = is_enough or self._most - self._least <= PRECISE_S

    def _estimate(self) -> float:
        return self.offset + self.steady()
