"""What commands print can be read by people and programs, and controls no terminal."""

from datetime import timedelta

import pytest

from deploy.commands.output import as_json, details, table
from tests.support.worlds.catalog_histories import NOON


def test_a_table_has_its_headings_first_and_aligned_columns() -> None:
    assert table(("ONE", "TWO"), [("a", 1), ("longer", "b")]) == "ONE     TWO\na       1\nlonger  b"


def test_a_sender_s_text_controls_no_terminal() -> None:
    text = table(("A", "B", "C"), [("\x1b[2J", "ä", "")]) + details({"title": "\x1b[2J\n"})

    assert "\x1b" not in text
    assert text.splitlines()[1:] == ["?[2J  ä  -title  ?[2J?"]


def test_times_are_printed_in_utc() -> None:
    assert details({"since": NOON}) == "since  2026-03-01 12:00:00Z"


@pytest.mark.parametrize(("microseconds", "printed"), [(0, "12:00:00.000000"), (7, "12:00:00.000007")])
def test_a_program_reads_times_of_one_form(microseconds: int, printed: str) -> None:
    assert as_json({"at": NOON + timedelta(microseconds=microseconds)}) == f'{{"at": "2026-03-01T{printed}+00:00"}}'
