"""What people say of times on the command line is read by one rule."""

import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from deploy.commands import topics, transfers
from deploy.commands.times import before, span, told
from pipelines.batch.spans import beginning, end

MORNING = datetime(2026, 11, 30, 8, 15, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_calcutta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine be 5.5 hours ahead of UTC, where no time is a whole hour of another zone."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "text",
    ["2026-11-30T13:45", "2026-11-30 13:45:00", "2026-11-30T08:15Z", "2026-11-30T09:15+01:00", "20261130T134500"],
)
def test_a_time_without_a_zone_is_this_machines_own(text: str) -> None:
    assert beginning(text) == end(text) == MORNING


@pytest.mark.parametrize("text", ["2026-11-30", "20261130"])
def test_a_date_is_a_whole_day_of_this_machine(text: str) -> None:
    assert beginning(text) == datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
    assert end(text) == datetime(2026, 11, 30, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800)])
def test_a_span_has_its_unit(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (beginning, "yesterday"),
        (beginning, "-5"),
        (end, "9999-12-31"),
        (end, "2026-13-01"),
        (span, "1"),
        (span, "1 h"),
        (span, "-1h"),
        (span, "٣h"),
        (span, "9999999d"),
    ],
)
def test_other_words_are_refused_with_an_example(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="should be"):
        read(text)


def test_a_span_counts_back_from_the_end_and_not_beyond_the_first_date() -> None:
    assert before(MORNING, timedelta(hours=1)) == MORNING - timedelta(hours=1)
    assert before(MORNING, span("999999d")) == datetime(1, 1, 1, tzinfo=UTC)


def test_the_time_that_was_asked_for_is_told_with_its_zone() -> None:
    at = "2026-11-30 13:45:00+05:30"

    assert told(MORNING, MORNING) == f"from {at} until {at}"
    assert told(None, MORNING) == f"until {at}"


def test_both_commands_read_the_same_time_in_the_same_way() -> None:
    of_topics, of_transfers = ArgumentParser(), ArgumentParser()
    topics.GROUP.commands[1].add_arguments(of_topics)
    transfers.COMMAND.add_arguments(of_transfers)
    asked = ["--from", "2026-11-30T13:45", "--to", "2026-11-30"]

    read, listed = of_topics.parse_args(["study-settled", *asked]), of_transfers.parse_args(asked)
    assert (read.beginning, read.end) == (listed.beginning, listed.end)
    assert read.beginning == MORNING
