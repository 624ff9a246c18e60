"""The limit on rejected records: records are counted one by one, in the order of their arrival."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.rejections import MOST_NAMED, TOO_MANY_REJECTED, WATCHED, Rejections, note_batch
from operators.stream.step import Output, Record, Stop
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED, STUDY_DUE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = JobSettings()
MOST_IN_A_ROW = SETTINGS.rejected_in_a_row


def record(offset: int, topic: str = INSTANCE_STORED.name, partition: int = 3) -> Record:
    return Record(topic, partition, offset, 0, b"", b"poison")


def dead_letters(records: Iterable[Record]) -> list[Output]:
    return [rejected(one, "catalog", "not-an-event", NOW) for one in records]


def first_stop(flags: Iterable[bool], settings: JobSettings = SETTINGS) -> tuple[int, Stop] | None:
    """Return the number of records up to the first stop, and the stop; `flags` says which records are rejected."""
    rejections = Rejections(settings)
    for number, is_rejected in enumerate(flags, start=1):
        if stop := rejections.note(record(number), "not-its-key" if is_rejected else None):
            return number, stop
    return None


def stopped_batches(*batches: tuple[Sequence[Record], Sequence[Record]]) -> list[bool]:
    """Count batches of records, each with those that are rejected; return for each whether it stops the job."""
    rejections = Rejections(SETTINGS)
    return [note_batch(rejections, records, dead_letters(bad)) is not None for records, bad in batches]


def test_one_percent_of_rejected_records_is_tolerated() -> None:
    assert first_stop(number % 100 == 0 for number in range(3 * WATCHED)) is None


def test_more_than_one_percent_of_the_last_ten_thousand_stops_the_job() -> None:
    assert first_stop(number % 99 == 0 for number in range(WATCHED)) == (
        WATCHED,
        Stop(
            TOO_MANY_REJECTED,
            "102 of the last 10000 records were rejected: at offsets instance-stored/3 1-10000; reasons not-its-key 102",
        ),
    )


def test_a_share_of_a_full_window_counts_however_many_were_good_before() -> None:
    found = first_stop([*[False] * WATCHED, *[number % 9 == 0 for number in range(WATCHED)]])

    assert found is not None
    assert WATCHED < found[0] < WATCHED + 1000


def test_rejections_older_than_the_last_ten_thousand_records_no_longer_count() -> None:
    assert first_stop([*[True] * 100, *[False] * WATCHED, *[True] * 100]) is None


def test_a_thousand_rejected_in_a_row_stop_the_job() -> None:
    assert first_stop([False, *[True] * 2 * MOST_IN_A_ROW]) == (
        1 + MOST_IN_A_ROW,
        Stop(
            TOO_MANY_REJECTED,
            "1000 records in a row were rejected: at offsets instance-stored/3 2-1001; reasons not-its-key 1000",
        ),
    )


@pytest.mark.parametrize(
    ("settings", "records"),
    [
        (JobSettings(rejected_in_a_row=5), 5),
        (JobSettings(rejected_in_a_row=WATCHED * 2), WATCHED),
        (JobSettings(rejected_in_a_row=WATCHED * 2, rejected_share=1.0), WATCHED * 2),
    ],
)
def test_operators_can_raise_both_limits(settings: JobSettings, records: int) -> None:
    found = first_stop([True] * 3 * WATCHED, settings)

    assert found is not None
    assert found[0] == records


def test_the_reason_of_a_stop_names_a_few_partitions_and_every_reason() -> None:
    rejections = Rejections(JobSettings(rejected_in_a_row=MOST_NAMED + 4))
    stops = [
        rejections.note(record(100 + number, partition=number), "not-an-event" if number % 3 else "not-its-key")
        for number in range(MOST_NAMED + 4)
    ]

    assert str(stops[-1]) == (
        "too-many-rejected: 12 records in a row were rejected: at offsets instance-stored/0 100-100, "
        "instance-stored/1 101-101, instance-stored/2 102-102, instance-stored/3 103-103, instance-stored/4 104-104, "
        "instance-stored/5 105-105, instance-stored/6 106-106, instance-stored/7 107-107, 4 more partitions; "
        "reasons not-an-event 8, not-its-key 4"
    )


def test_a_row_of_rejects_continues_in_the_next_batch() -> None:
    good, bad = [record(0)], [record(offset) for offset in range(1, MOST_IN_A_ROW)]
    last = [record(MOST_IN_A_ROW)]

    assert stopped_batches(([*good, *bad], bad), (last, last)) == [False, True]


def test_a_good_record_at_the_end_of_a_batch_ends_the_row() -> None:
    bad, good = [record(offset) for offset in range(MOST_IN_A_ROW - 1)], [record(MOST_IN_A_ROW - 1)]
    more = [record(MOST_IN_A_ROW)]

    assert stopped_batches(([*bad, *good], bad), (more, more)) == [False, False]


def test_a_good_record_between_two_rows_of_rejects_keeps_them_apart() -> None:
    half = MOST_IN_A_ROW // 2
    records = [record(offset) for offset in range(2 * half + 1)]

    assert stopped_batches((records, [one for one in records if one.offset != half])) == [False]


def test_records_at_the_same_offset_of_two_topics_are_distinguished() -> None:
    bad = [record(offset) for offset in range(MOST_IN_A_ROW - 1)]
    more = [record(MOST_IN_A_ROW)]

    assert stopped_batches(([*bad, record(0, STUDY_DUE.name)], bad), (more, more)) == [False, False]


def test_a_record_that_is_twice_in_a_batch_counts_twice() -> None:
    same = record(7)

    assert stopped_batches(([same] * MOST_IN_A_ROW, [same])) == [True]
