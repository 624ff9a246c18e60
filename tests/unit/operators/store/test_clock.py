"""The store's clock is known from the dates of its answers, and no clock that anybody sets changes it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from operators.errors import Unavailable
from operators.store.clock import StoreClock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOURS = 7200.0
SKEWS = [HOURS, -HOURS, 1.5, -1.5, 0.0]


@dataclass
class Clocks:
    """The true time, and by how much the clocks of the gateway's machine and of the store are ahead of it."""

    ahead_s: float = 0.0
    store_ahead_s: float = 0.0
    true: float = NOON.timestamp()
    clock: StoreClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = StoreClock(lambda: self.true + self.ahead_s, self.steady)

    def steady(self) -> float:
        return self.true - NOON.timestamp() + 1000

    def answer(self, before_s: float = 0.01, after_s: float = 0.01) -> float:
        """Let the store answer a request, so long after it was sent and so long before it arrives."""
        asked = self.steady()
        self.true += before_s
        second = float(int(self.true + self.store_ahead_s))
        self.true += after_s
        return self.clock.learn(second, asked, self.steady())

    def answers(self, count: int = 100, apart_s: float = 0.03) -> list[float]:
        """Let the store answer requests one after the other; return what each has changed."""
        changes = []
        for _ in range(count):
            changes.append(self.answer())
            self.true += apart_s
        return changes

    @property
    def error_s(self) -> float:
        """By how much the clock is ahead of the store's."""
        return self.clock.signing_time().timestamp() - self.true - self.store_ahead_s


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("ahead_s", SKEWS)
def test_one_answer_corrects_a_clock_to_a_second_and_the_time_of_the_request(ahead_s: float, fraction: float) -> None:
    clocks = Clocks(ahead_s)
    clocks.true += fraction
    clocks.answer()

    assert abs(clocks.error_s) <= 1.03


@pytest.mark.parametrize("ahead_s", SKEWS)
def test_answers_of_more_than_a_second_correct_it_to_the_time_of_a_request(ahead_s: float) -> None:
    clocks = Clocks(ahead_s)
    clocks.answers()

    assert abs(clocks.error_s) <= 0.06


@pytest.mark.parametrize("apart_s", [0.03, 1.0])
@pytest.mark.parametrize("ahead_s", SKEWS)
def test_nothing_can_be_dated_before_answers_have_told_the_time(ahead_s: float, apart_s: float) -> None:
    clocks = Clocks(ahead_s)
    clocks.true += 0.5
    with pytest.raises(Unavailable):
        clocks.clock.now()
    clocks.answer()
    with pytest.raises(Unavailable):
        clocks.clock.now()

    clocks.answers(round(1.2 / apart_s) + 2, apart_s)

    assert clocks.clock.now().timestamp() == pytest.approx(clocks.true, abs=max(0.06, apart_s))


def test_a_clock_that_is_right_is_never_corrected() -> None:
    assert Clocks(ahead_s=0.001).answers() == [0.0] * 100


def test_a_machines_clock_that_is_set_changes_nothing() -> None:
    clocks = Clocks()
    clocks.answers()
    before = clocks.clock.now()
    clocks.ahead_s = -HOURS
    clocks.true += 1

    assert timedelta(seconds=1) <= clocks.clock.now() - before < timedelta(seconds=1.001)
    assert clocks.answer() == 0.0


def test_each_moment_is_later_than_the_one_before_though_the_stores_clock_is_set_back() -> None:
    clocks = Clocks(store_ahead_s=HOURS)
    clocks.answers()
    before = clocks.clock.now()
    clocks.store_ahead_s = 0.0

    assert clocks.answer() < -HOURS + 2
    moments = [clocks.clock.now() for _ in range(3)]
    assert [before, *moments] == sorted({before, *moments})
    assert abs(clocks.error_s) < 1.1


def test_the_error_of_the_machines_clock_is_told() -> None:
    clocks = Clocks(HOURS)
    clocks.answers()

    assert clocks.clock.ahead_s() == pytest.approx(-HOURS, abs=0.06)
