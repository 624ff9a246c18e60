"""The arguments that select dead letters: what is not given selects all, and a date is a whole day."""

from argparse import ArgumentParser
from datetime import UTC, datetime

import pytest

from operators.stream.letters import LetterSelection
from pipelines.batch.replay.letter_selection import add_selection, selection_of


def selected(*arguments: str) -> LetterSelection:
    parser = ArgumentParser()
    add_selection(parser)
    return selection_of(parser.parse_args(arguments))


def test_without_arguments_all_are_selected() -> None:
    assert selected() == LetterSelection()


def test_each_argument_selects() -> None:
    words = (
        "--operator study --operator catalog --reason not-an-event --topic instance-stored --partition 3 --offset 17-42"
    )
    more = "--tenant local --rejected-from 2026-03-01T12:00Z --rejected-to 2026-03-01T13:00Z --event-id a --event-id b"

    assert selected(*words.split(), *more.split()) == LetterSelection(
        operators=frozenset({"study", "catalog"}),
        reasons=frozenset({"not-an-event"}),
        topics=frozenset({"instance-stored"}),
        partition=3,
        first=17,
        last=42,
        tenant="local",
        rejected_from=datetime(2026, 3, 1, 12, tzinfo=UTC),
        rejected_to=datetime(2026, 3, 1, 13, tzinfo=UTC),
        event_ids=frozenset({"a", "b"}),
    )


def test_one_offset_is_the_first_and_the_last() -> None:
    assert (selected("--offset", "17").first, selected("--offset", "17").last) == (17, 17)


def test_a_day_ends_with_its_last_moment() -> None:
    found = selected("--rejected-from", "2026-03-01", "--rejected-to", "2026-03-01")

    assert found.rejected_from
    assert found.rejected_to
    assert (found.rejected_to - found.rejected_from).days == 1


@pytest.mark.parametrize(
    "arguments",
    ["--offset 42-17", "--offset -3", "--offset x", "--partition 1.5", "--operator x", "--topic x", "--rejected-to x"],
)
def test_arguments_that_select_nothing_are_refused_with_a_line(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        selected(*arguments.split())

    assert refused.value.code == 2
    assert capsys.readouterr().err.count("error:") == 1
