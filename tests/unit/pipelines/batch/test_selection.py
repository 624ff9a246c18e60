"""A selection names the studies that a batch pipeline works on."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.batch.selection import Selection, add_selection, selection_of

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPAN = Selection(stored_from=NOON, stored_to=NOON + HOUR)


@pytest.mark.parametrize(
    ("modified_at", "is_in"),
    [
        (NOON - timedelta(seconds=1), False),
        # Cut to the second by the store: it was later.
        (NOON, True),
        (NOON + HOUR - timedelta(seconds=1), True),
        (NOON + HOUR, False),
        (None, True),
    ],
)
def test_a_span_includes_its_beginning_and_not_its_end(modified_at: datetime | None, *, is_in: bool) -> None:
    assert SPAN.has_moment(modified_at) == is_in


def test_a_moment_within_the_first_second_of_a_span_is_in_it() -> None:
    later = Selection(stored_from=NOON + timedelta(milliseconds=300))

    assert later.has_moment(NOON)


def selected(*arguments: str) -> Selection:
    parser = ArgumentParser(exit_on_error=False)
    add_selection(parser)
    return selection_of(parser.parse_args(arguments))


def test_arguments_name_tenant_study_and_time() -> None:
    found = selected("--tenant", "local", "--study", "1.2", "--stored-from", "2026-11-30T12:00Z")

    assert found == Selection("local", "1.2", NOON)


def test_a_date_as_an_end_is_the_end_of_the_day() -> None:
    found = selected("--stored-from", "2026-11-30", "--stored-to", "2026-11-30")

    assert found.stored_from is not None
    assert found.stored_to == found.stored_from + timedelta(days=1)


@pytest.mark.parametrize(
    "arguments", [("--tenant", "../x"), ("--study", "1.2/3"), ("--stored-from", "yesterday"), ("--stored-to", "")]
)
def test_what_cannot_be_a_tenant_a_uid_or_a_time_is_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(Exception, match="should be"):
        selected(*arguments)
