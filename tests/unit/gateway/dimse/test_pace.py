"""Each limit of time is exceeded after its seconds, under its name; only data sets at a fair rate are productive."""

from dataclasses import dataclass

import pytest

from gateway.dimse.pace import Pace
from schemas.settings.dimse import DimseSettings

SETTINGS = DimseSettings(
    associate_s=10.0, silence_s=8.0, stall_s=20.0, idle_s=120.0, yield_s=5.0, slowest_bytes_per_s=1000.0
)


@dataclass
class Clock:
    """A clock that a test sets."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def after(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    """An association that has just been accepted; its idle time is 60 s."""
    accepted = Pace(SETTINGS, clock)
    accepted.received(1, was_between_pdus=True)
    accepted.associated(60.0)
    return accepted


def test_an_association_request_is_overdue_after_associate_s(clock: Clock) -> None:
    pace = Pace(SETTINGS, clock)

    clock.after(10.0)
    is_overdue_in_time = pace.is_associate_overdue()
    clock.after(0.1)

    assert (is_overdue_in_time, pace.is_associate_overdue()) == (False, True)


@pytest.mark.parametrize(
    ("completed_pdus", "is_between_messages", "limit"),
    [
        (1, True, ("stalled", 20.0)),
        (3, True, ("idle", 60.0)),
        (3, False, ("stalled", 20.0)),
    ],
    ids=["before the first message", "between messages", "within a message"],
)
def test_between_pdus_an_association_is_idle_or_stalled(
    clock: Clock, pace: Pace, completed_pdus: int, limit: tuple[str, float], *, is_between_messages: bool
) -> None:
    reason, limit_s = limit
    pace.received(completed_pdus, was_between_pdus=True)

    clock.after(limit_s)
    in_time = pace.overdue(None, is_between_messages=is_between_messages)
    clock.after(0.1)

    assert (in_time, pace.overdue(None, is_between_messages=is_between_messages)) == (None, reason)


def test_a_stall_is_never_longer_than_the_idle_time_of_the_peer(clock: Clock, pace: Pace) -> None:
    pace.associated(0.5)

    clock.after(0.6)

    assert pace.overdue(None, is_between_messages=True) == "stalled"


def test_within_a_pdu_an_association_is_silent_or_slow(clock: Clock, pace: Pace) -> None:
    pace.received(1, was_between_pdus=True)
    for _ in range(9):
        clock.after(1.0)
        pace.received(1, was_between_pdus=False)

    slow, fair = (pace.overdue(size, is_between_messages=False) for size in (8_999, 9_000))
    clock.after(8.1)

    assert (slow, fair) == ("slow", None)
    assert pace.overdue(2**20, is_between_messages=False) == "silent"


def test_the_time_of_a_pdu_begins_with_its_first_byte(clock: Clock, pace: Pace) -> None:
    clock.after(50.0)
    pace.received(2, was_between_pdus=False)
    clock.after(1.0)

    assert pace.overdue(10, is_between_messages=True) is None


def test_the_peers_idle_time_begins_again_after_an_answer(clock: Clock, pace: Pace) -> None:
    pace.received(3, was_between_pdus=True)
    clock.after(59.0)
    pace.peers_turn_began()
    clock.after(59.0)

    assert pace.overdue(None, is_between_messages=True) is None


def test_only_data_above_the_slowest_rate_is_productive(clock: Clock, pace: Pace) -> None:
    clock.after(1.0)
    pace.data_bytes = 1_001
    pace.measure()
    productive = pace.unproductive_s()
    clock.after(1.0)
    pace.data_bytes = 1_000
    pace.measure()

    assert (productive, pace.unproductive_s()) == (0.0, 1.0)


def test_a_whole_data_set_of_any_size_is_productive(clock: Clock, pace: Pace) -> None:
    clock.after(30.0)

    pace.data_set_received()

    assert pace.unproductive_s() == 0.0


def test_a_peer_is_never_unproductive_while_its_data_set_is_stored(clock: Clock, pace: Pace) -> None:
    pace.store_began()
    clock.after(30.0)
    pace.data_set_received()
    pace.measure()
    while_stored = pace.unproductive_s()
    pace.store_ended()
    clock.after(2.0)

    assert (while_stored, pace.unproductive_s()) == (None, 2.0)


def test_limits_are_checked_every_quarter_of_the_shortest_or_every_second(clock: Clock) -> None:
    pace = Pace(SETTINGS, clock)
    before = pace.check_s
    pace.associated(0.4)

    assert before == 1.0
    assert pace.check_s == pytest.approx(0.1)
