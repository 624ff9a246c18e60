"""Portions of records to send again, and the topics whose records are never sent again."""

from datetime import UTC, datetime

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter
from operators.stream.step import Record
from pipelines.batch.replay.resending import COMPACTED, NO_JOB, PORTION_BYTES, taken, why_not
from schemas.events import RecordRejected
from schemas.topics import INSTANCE_STORED, POLICY_CHANGED, RECORD_REJECTED, STUDY_DUE, STUDY_SETTLED

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(offset: int, size: int) -> DeadLetter:
    event = rejected(Record(INSTANCE_STORED.name, 0, offset, 0, b"", bytes(size)), "catalog", "x", NOON).event
    assert isinstance(event, RecordRejected)
    return DeadLetter(event, NOON)


def test_a_portion_ends_at_its_number_or_size_and_the_next_one_goes_on() -> None:
    many, large = (
        iter([letter(one, 1) for one in range(5)]),
        iter([letter(one, PORTION_BYTES // 2) for one in range(5)]),
    )

    assert [len(taken(many, 2)) for _ in range(4)] == [2, 2, 1, 0]
    assert [len(taken(large, 5)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (INSTANCE_STORED.name, None),
        (STUDY_DUE.name, None),
        (POLICY_CHANGED.name, COMPACTED),
        (STUDY_SETTLED.name, NO_JOB),
        (RECORD_REJECTED.name, NO_JOB),
        ("of-somebody-else", NO_JOB),
    ],
)
def test_records_are_sent_only_to_topics_that_jobs_read_and_that_keep_all(topic: str, reason: str | None) -> None:
    assert why_not(topic) == reason
