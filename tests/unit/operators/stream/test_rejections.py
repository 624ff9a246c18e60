"""The limit on rejected records: records are counted one by one, in the order of their arrival."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.rejections import MOST_IN_A_ROW, WATCHED, Rejections, TooManyRejected, note_batch
from operators.stream.step import Output, Record
from schemas.topics import INSTANCE_STORED, STUDY_DUE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def note_all(flags: Iterable[bool]) -> None:
    rejections = Rejections()
    for is_rejected in flags:
        rejections.note(rejected=is_rejected)


def record(offset: int, topic: str = INSTANCE_STORED.name) -> Record:
    return Record(topic, 3, offset, 0, b"", b"poison")


def dead_letters(records: Iterable[Record]) -> list[Output]:
    return [rejected(one, "catalog", "not-an-event", NOW) for one in records]


def test_one_percent_of_rejected_records_is_tolerated() -> None:
    note_all([number % 100 == 0 for number in range(3 * WATCHED)])


def test_more_than_one_percent_of_the_last_ten_thousand_stops_the_job() -> None:
    with pytest.raises(TooManyRejected):
        note_all([number % 99 == 0 for number in range(WATCHED)])


def test_rejections_older_than_the_last_ten_thousand_records_no_longer_count() -> None:
    note_all([*[True] * 100, *[False] * WATCHED, *[True] * 100])


def test_a_thousand_rejected_in_a_row_stop_the_job() -> None:
    note_all([True] * (MOST_IN_A_ROW - 1))

    with pytest.raises(TooManyRejected):
        note_all([True] * MOST_IN_A_ROW)


def test_a_row_of_rejects_continues_in_the_next_batch() -> None:
    rejections = Rejections()
    good, bad = [record(0)], [record(offset) for offset in range(1, MOST_IN_A_ROW)]
    note_batch(rejections, [*good, *bad], dead_letters(bad))
    last = [record(MOST_IN_A_ROW)]

    with pytest.raises(TooManyRejected, match="in a row"):
        note_batch(rejections, last, dead_letters(last))


def test_a_good_record_at_the_end_of_a_batch_ends_the_row() -> None:
    rejections = Rejections()
    bad, good = [record(offset) for offset in range(MOST_IN_A_ROW - 1)], [record(MOST_IN_A_ROW - 1)]
    note_batch(rejections, [*bad, *good], dead_letters(bad))
    more = [record(MOST_IN_A_ROW)]

    note_batch(rejections, more, dead_letters(more))


def test_a_good_record_between_two_rows_of_rejects_keeps_them_apart() -> None:
    half = MOST_IN_A_ROW // 2
    records = [record(offset) for offset in range(2 * half + 1)]
    bad = [one for one in records if one.offset != half]

    note_batch(Rejections(), records, dead_letters(bad))


def test_records_at_the_same_offset_of_two_topics_are_distinguished() -> None:
    rejections = Rejections()
    bad = [record(offset) for offset in range(MOST_IN_A_ROW - 1)]
    note_batch(rejections, [*bad, record(0, STUDY_DUE.name)], dead_letters(bad))
    more = [record(MOST_IN_A_ROW)]

    note_batch(rejections, more, dead_letters(more))


def test_a_record_that_is_twice_in_a_batch_counts_twice() -> None:
    same = record(7)

    with pytest.raises(TooManyRejected):
        note_batch(Rejections(), [same] * MOST_IN_A_ROW, dead_letters([same]))
