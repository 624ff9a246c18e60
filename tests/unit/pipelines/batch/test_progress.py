"""The terminal says what is done, how fast, and how long the rest may take at the rates that were seen."""

from io import StringIO
from pathlib import Path

import pytest

from pipelines.batch.journal import Finished, RunJournal, StoppedWorker
from pipelines.batch.progress import Estimate, ProgressDisplay, Totals, duration, line
from pipelines.batch.walk import Size


def estimate(*done: int) -> Estimate:
    """Return the estimate for 1,000 objects after so many were done, 10 s apart."""
    made = Estimate(1000)
    for number, count in enumerate(done):
        made.note(10.0 * number, count)
    return made


def test_nothing_is_told_before_three_spans() -> None:
    assert estimate(0, 100, 200).left_s() is None


def test_a_steady_rate_gives_one_time() -> None:
    assert estimate(0, 100, 200, 300).left_s() == (70.0, 70.0)


def test_rates_that_vary_give_a_range() -> None:
    assert estimate(0, 200, 300, 500).left_s() == (25.0, 50.0)


def test_a_span_in_which_nothing_was_finished_counts_at_the_rate_of_all_spans() -> None:
    assert estimate(0, 0, 300, 300).left_s() == pytest.approx((70 / 3, 70.0))


def test_marks_that_are_too_close_are_no_spans() -> None:
    made = Estimate(1000)
    for number in range(20):
        made.note(number / 10, number)

    assert made.left_s() is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "5 s"), (62, "60 s"), (100, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_a_duration_is_no_more_exact_than_it_is_known(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_tells_what_is_done_and_left_out() -> None:
    totals = Totals()
    totals.add(Finished("local/1.2/", {"studies": 1, "objects": 50}, {"local/1.2/x": "no-envelope"}))

    assert line(totals, Size(4, 200), 25.0, (5.0, 200.0)) == (
        "1 of 4 studies, 50 of 200 objects, 25/s, 5 s to 3 min left, 1 left out"
    )


def test_the_display_adds_up_the_journal_and_forgets_why_an_earlier_attempt_stopped(tmp_path: Path) -> None:
    stream = StringIO()
    with RunJournal(tmp_path) as journal:
        journal._write(StoppedWorker("store", "gone").__dict__)
        display = ProgressDisplay(tmp_path, Size(2, 3), stream)
        with display.running():
            journal.finish(Finished("local/1.2/", {"studies": 1, "objects": 3}))

    assert display.totals.counts == {"studies": 1, "objects": 3}
    assert display.totals.stopped is None
    assert stream.getvalue().startswith("1 of 2 studies, 3 of 3 objects")
