"""Portions of records to send again, and the topics whose records are never sent again."""

from datetime import UTC, datetime

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.letters import DeadLetter
from operators.stream.step import Record
from pipelines.batch.replay.resending import COMPACTED, NO_JOB, PORTION_BYTES, jobs_behind, taken, why_not
from schemas.events import RecordRejected
from schemas.topics import INSTANCE_STORED, POLICY_CHANGED, RECORD_REJECTED, STUDY_DUE, STUDY_SETTLED
from tests.unit.pipelines.launch.test_losses import Broker

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


@pytest.mark.parametrize(
    ("study", "catalog", "behind"),
    [
        (12, 12, []),
        (11, 12, ["study"]),
        (12, 11, ["catalog"]),
        (None, 12, ["study"]),
        (None, None, ["study", "catalog"]),
    ],
)
def test_a_job_is_behind_until_it_has_committed_what_comes_after_the_last_record(
    study: int | None, catalog: int | None, behind: list[str]
) -> None:
    place = (INSTANCE_STORED.name, 0)
    offsets = {job: {place: at} for job, at in (("study", study), ("catalog", catalog)) if at is not None}

    assert jobs_behind(Broker(offsets=offsets), {place: 11}) == behind


def test_a_job_that_does_not_read_a_topic_is_not_waited_for() -> None:
    assert jobs_behind(Broker(), {(STUDY_DUE.name, 0): 11}) == ["catalog"]
