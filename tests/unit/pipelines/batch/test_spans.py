"""A span on the command line that would hold nothing is a wrong argument, for every command that takes one."""

from argparse import ArgumentParser
from collections.abc import Callable

import pytest

from deploy.commands import topics, transfers
from pipelines.batch import selection
from pipelines.batch.replay import letter_selection

Added = Callable[[ArgumentParser], None]
COMMANDS: list[tuple[Added, str, str]] = [
    (selection.add_selection, "--stored-from", "--stored-to"),
    (letter_selection.add_selection, "--rejected-from", "--rejected-to"),
    (transfers.COMMAND.add_arguments, "--from", "--to"),
    (topics.GROUP.commands[1].add_arguments, "--from", "--to"),
]
SPANS = [("2026-12-01", "2026-11-30"), ("2026-11-30T08:15Z", "2026-11-30T08:15Z")]


def parsed(add: Added, arguments: list[str]) -> None:
    parser = ArgumentParser()
    add(parser)
    parser.parse_args(["study-settled", *arguments] if add == COMMANDS[-1][0] else arguments)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(("add", "first", "last"), COMMANDS)
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_span_that_ends_before_it_begins_is_refused_in_any_order(  # noqa: PLR0913
    add: Added, first: str, last: str, span: tuple[str, str], capsys: pytest.CaptureFixture[str], *, is_turned: bool
) -> None:
    pairs = [[first, span[0]], [last, span[1]]]
    given = [word for pair in (reversed(pairs) if is_turned else pairs) for word in pair]

    with pytest.raises(SystemExit, match="2"):
        parsed(add, given)
    assert "the span ends before it begins" in capsys.readouterr().err


@pytest.mark.parametrize(("add", "first", "last"), COMMANDS)
def test_a_date_is_a_span_of_its_own(add: Added, first: str, last: str) -> None:
    parsed(add, [first, "2026-11-30", last, "2026-11-30"])


def test_an_offset_and_a_time_are_not_compared() -> None:
    parsed(topics.GROUP.commands[1].add_arguments, ["--from", "17", "--to", "2026-11-30"])
