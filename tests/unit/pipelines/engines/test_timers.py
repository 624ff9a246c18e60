"""One timer per key that re-arms itself, and the bytes that are kept."""

from hypothesis import given
from hypothesis import strategies as st

from operators.stream.step import Step
from pipelines.engines.timers import Kept, fired, stepped, too_early


def test_a_first_wish_sets_a_timer() -> None:
    assert stepped(Kept(), Step(b"h", wake_at=2.0), 1000) == (Kept(b"h", 2000, 2000), 2000)


def test_a_later_wish_waits_for_the_timer_that_is_set() -> None:
    assert stepped(Kept(b"h", 2000, 2000), Step(b"i", wake_at=3.0), 1000) == (Kept(b"i", 3000, 2000), None)


def test_an_earlier_wish_sets_another_timer() -> None:
    assert stepped(Kept(b"h", 2000, 2000), Step(b"i", wake_at=1.5), 1000) == (Kept(b"i", 1500, 1500), 1500)


def test_a_timer_for_an_older_wish_does_nothing() -> None:
    assert fired(Kept(b"h", 1500, 1500), 2000) is None


def test_a_timer_before_the_wish_is_set_again() -> None:
    assert too_early(Kept(b"h", 3000), 2000) == (Kept(b"h", 3000, 3000), 3000)


def test_a_step_that_is_not_satisfied_does_not_spin() -> None:
    assert stepped(Kept(), Step(b"h", wake_at=1.0), 1000)[1] == 1001


def test_a_step_that_keeps_nothing_leaves_nothing() -> None:
    kept, timer = stepped(Kept(b"h", 5, 5), Step(None), 10)

    assert (kept.write(), timer) == (None, None)


@given(st.none() | st.binary(), st.integers(-1, 2**62), st.integers(-1, 2**62))
def test_what_is_kept_reads_back(head: bytes | None, wish_ms: int, timer_ms: int) -> None:
    kept = Kept(head, wish_ms, timer_ms)

    assert Kept.read(kept.write()) == kept
