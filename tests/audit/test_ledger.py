"""A ledger survives kills, and its strongest line counts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit.ledger import Ledger, Line, State, read

LINE = Line("planned", "local", "1.2", "1.2.3", "1.2.3.4", "ab" * 32)

# The answers that came, and what is known after them.
HISTORIES: list[tuple[list[State], State]] = [
    ([], "planned"),
    (["failed"], "failed"),
    (["unknown"], "unknown"),
    (["unknown", "failed"], "unknown"),
    (["failed", "acked"], "acked"),
    (["acked", "unknown"], "acked"),
]


@pytest.mark.parametrize(("answers", "known"), HISTORIES)
def test_the_strongest_line_of_an_instance_counts(tmp_path: Path, answers: list[State], known: State) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.plan([LINE])
        for state in answers:
            ledger.answer(LINE, state, "0000")

    assert [line.state for line in read(tmp_path / "ledger")] == [known]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path) as ledger:
        ledger.plan([LINE, replace(LINE, sop_uid="1.2.3.5")])
    path.write_bytes(path.read_bytes()[:-7])

    assert [line.sop_uid for line in read(path)] == ["1.2.3.4"]


def test_a_line_is_on_the_disk_before_the_call_returns(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.plan([LINE])

        assert json.loads((tmp_path / "ledger").read_bytes())["sop_uid"] == LINE.sop_uid


def test_two_contents_of_one_instance_are_recorded_apart(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        ledger.answer(LINE, "acked", "0000")
        ledger.answer(replace(LINE, data_hash="cd" * 32), "failed", "A700")

    assert [line.state for line in read(tmp_path / "ledger")] == ["acked", "failed"]
