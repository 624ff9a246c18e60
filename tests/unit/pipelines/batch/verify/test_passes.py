"""The last pass over everything is known after every restart, and says when the next one begins."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operators.integrity.comparison import KINDS
from pipelines.batch.verify.passes import LAST, LastPass, due_at, first_start, keep_last, read_last

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(hours=5)
REPORT = {
    "began_at": BEGAN.isoformat(),
    "finished_at": ENDED.isoformat(),
    "objects": 12,
    "found": {"hash": 2},
    "findings": [],
}
NOTHING_ELSE: dict[str, int] = {str(kind): 2 * (kind == "hash") for kind in KINDS}


def test_the_last_pass_is_read_as_it_was_kept(tmp_path: Path) -> None:
    keep_last(tmp_path / "runs", REPORT, ENDED)

    assert read_last(tmp_path / "runs") == LastPass(BEGAN, ENDED, 12, NOTHING_ELSE)


@pytest.mark.parametrize(
    ("at", "objects"), [(ENDED, 12), (ENDED - timedelta(hours=1), 3)], ids=["the last one", "by a clock that was ahead"]
)
def test_a_report_of_an_earlier_pass_does_not_take_the_place_of_the_last_one(
    tmp_path: Path, at: datetime, objects: int
) -> None:
    keep_last(tmp_path, REPORT, ENDED)
    keep_last(tmp_path, {**REPORT, "finished_at": (ENDED - timedelta(hours=2)).isoformat(), "objects": 3}, at)

    last = read_last(tmp_path)
    assert last is not None
    assert last.objects == objects


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"began_at": 1}'])
def test_without_a_report_that_can_be_read_there_is_no_last_pass(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / LAST).write_text(text)

    assert read_last(tmp_path) is None


def test_the_first_start_is_noted_once(tmp_path: Path) -> None:
    assert first_start(tmp_path / "runs", BEGAN) == BEGAN
    assert first_start(tmp_path / "runs", ENDED) == BEGAN


def test_a_disk_that_takes_no_note_keeps_no_process_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the place of the folder")

    assert first_start(tmp_path / "runs", BEGAN) == BEGAN
    assert read_last(tmp_path / "runs") is None


@pytest.mark.parametrize(
    ("last", "due_s"), [(None, 60), (LastPass(BEGAN + timedelta(seconds=10), ENDED, 0, {}), 10 + 3600)]
)
def test_a_pass_begins_so_long_after_the_last_one_began(last: LastPass | None, due_s: int) -> None:
    assert due_at(last, BEGAN, every_s=3600, first_s=60, at=ENDED) == BEGAN + timedelta(seconds=due_s)
