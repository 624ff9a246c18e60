"""Each key has one timer, which is set again when needed and is kept as bytes of state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.stream.newer_release import UnknownState
from operators.stream.step import Step
from pipelines.engines.timers import TimerState, after_step, after_timer, rearmed_if_early


def test_a_first_wake_time_sets_a_timer() -> None:
    assert after_step(TimerState(), Step(b"h", wake_at=2.0), 1000) == (TimerState(b"h", 2000, 2000), 2000)


def test_a_later_wake_time_keeps_the_timer_that_is_set() -> None:
    assert after_step(TimerState(b"h", 2000, 2000), Step(b"i", wake_at=3.0), 1000) == (
        TimerState(b"i", 3000, 2000),
        None,
    )


def test_an_earlier_wake_time_sets_another_timer() -> None:
    assert after_step(TimerState(b"h", 2000, 2000), Step(b"i", wake_at=1.5), 1000) == (
        TimerState(b"i", 1500, 1500),
        1500,
    )


def test_a_timer_that_is_not_the_latest_does_nothing() -> None:
    assert after_timer(TimerState(b"h", 1500, 1500), 2000) is None


def test_a_timer_that_fires_before_the_wake_time_is_set_again() -> None:
    assert rearmed_if_early(TimerState(b"h", 3000), 2000) == (TimerState(b"h", 3000, 3000), 3000)


def test_a_step_that_asks_for_a_past_time_is_called_a_millisecond_later() -> None:
    assert after_step(TimerState(), Step(b"h", wake_at=1.0), 1000)[1] == 1001


def test_a_step_that_keeps_nothing_leaves_no_state() -> None:
    state, timer = after_step(TimerState(b"h", 5, 5), Step(None), 10)

    assert (state.write(), timer) == (None, None)


@given(st.none() | st.binary(), st.integers(-1, 2**62), st.integers(-1, 2**62))
def test_state_reads_back(head: bytes | None, wake_ms: int, timer_ms: int) -> None:
    state = TimerState(head, wake_ms, timer_ms)

    assert TimerState.read(state.write()) == state


def test_the_bytes_of_an_earlier_release_are_read() -> None:
    written = b"\x01" + (3000).to_bytes(8, "big") + (2000).to_bytes(8, "big") + b"\x01head"

    assert TimerState.read(written) == TimerState(b"head", 3000, 2000)
    assert TimerState(b"head", 3000, 2000).write() == written


def test_bytes_of_another_layout_are_refused() -> None:
    with pytest.raises(UnknownState, match="version 9"):
        TimerState.read(b"\x09" + b"\0" * 17)
