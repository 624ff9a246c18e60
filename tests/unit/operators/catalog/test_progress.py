"""A shard's progress: the offsets applied, the dues that wait, and bytes that are read back or refused."""

import base64
from datetime import timedelta

import pytest

from operators.catalog.progress import ShardProgress, read_progress
from schemas.codec import MARKER, UnknownSchema
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import NOON, due, instance, record

TOPIC = INSTANCE_STORED.name


def test_an_older_record_does_not_lower_the_applied_offset() -> None:
    records = [record(instance(sop=str(offset)), offset) for offset in (7, 3)]
    progress = ShardProgress().advanced(records, [], NOON)

    assert progress.applied == {(TOPIC, 0): 7}


def test_the_last_offset_of_each_partition_of_each_topic_is_kept_apart() -> None:
    records = [record(instance(), 7), record(instance(), 3, partition=1), record(due(), 9)]
    progress = ShardProgress({(TOPIC, 2): 4}).advanced(records, [], NOON)

    assert progress.applied == {(TOPIC, 2): 4, (TOPIC, 0): 7, (TOPIC, 1): 3, ("study-due", 0): 9}


def test_an_advanced_progress_leaves_the_one_before_as_it_was() -> None:
    before = ShardProgress({(TOPIC, 0): 1}, (), 12)
    after = before.advanced([record(instance(), 2)], [due()], NOON)

    assert before == ShardProgress({(TOPIC, 0): 1}, (), 12)
    assert after == ShardProgress({(TOPIC, 0): 2}, (due(),), 12)


@pytest.mark.parametrize(("offset", "is_ready"), [(6, True), (7, True), (8, False)])
def test_a_due_is_ready_when_the_last_record_that_it_counts_is_applied(offset: int, is_ready: bool) -> None:  # noqa: FBT001
    progress = ShardProgress({(TOPIC, 0): 7})

    assert progress.is_ready(due(place=(0, offset))) is is_ready


def test_a_due_of_a_partition_without_records_waits() -> None:
    assert not ShardProgress({(TOPIC, 0): 7}).is_ready(due(place=(1, 0)))


def test_a_due_is_not_ready_for_records_of_another_topic() -> None:
    assert not ShardProgress({("transfer-ended", 0): 7}).is_ready(due(place=(0, 7)))


def test_a_due_that_counts_no_instances_is_always_ready() -> None:
    assert ShardProgress().is_ready(due())


def test_a_repeated_due_waits_once() -> None:
    one, other = due(number=1), due(number=2)
    progress = ShardProgress().advanced([], [one], NOON).advanced([], [one, other], NOON)

    assert progress.waiting == (one, other)


def test_a_due_is_dropped_when_the_records_that_it_waits_for_have_expired() -> None:
    retention = timedelta(milliseconds=INSTANCE_STORED.retention_ms)
    waiting = ShardProgress(waiting=(due(),))

    assert waiting.advanced([], [], NOON + retention - timedelta(seconds=1)).waiting == (due(),)
    assert waiting.advanced([], [], NOON + retention).waiting == ()


def test_a_progress_is_read_back_from_its_bytes() -> None:
    progress = ShardProgress({(TOPIC, 0): 7, ("study-due", 15): 0}, (due(place=(0, 9)), due(number=2)), 1234)

    assert read_progress(progress.to_bytes()) == progress


def test_a_shard_without_state_begins_with_an_empty_progress() -> None:
    assert read_progress(None) == ShardProgress()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "applied": 7, "waiting": [], "announced": 0}',
        b'{"version": 1, "applied": [["instance-stored", 0]], "waiting": [], "announced": 0}',
        b'{"version": 1, "applied": [], "waiting": ["no base64"], "announced": 0}',
        b'{"version": 1, "applied": [], "waiting": ["AA=="], "announced": 0}',
    ],
)
def test_bytes_that_are_no_progress_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_progress(data)


def test_a_progress_of_another_version_is_refused() -> None:
    data = ShardProgress().to_bytes().replace(b'"version":1', b'"version":2')

    with pytest.raises(ValueError, match="another version"):
        read_progress(data)


def test_a_due_of_a_newer_writer_is_an_unknown_schema() -> None:
    newer = base64.b64encode(MARKER + b"\1" * 8)
    data = b'{"version":1,"applied":[],"waiting":["%b"],"announced":0}' % newer

    with pytest.raises(UnknownSchema):
        read_progress(data)


def test_a_waiting_event_that_is_no_due_is_refused() -> None:
    data = ShardProgress(waiting=(due(),)).to_bytes()
    other = ShardProgress(waiting=(instance(),)).to_bytes()  # type: ignore[arg-type]

    assert read_progress(data).waiting == (due(),)
    with pytest.raises(ValueError, match="cannot be read"):
        read_progress(other)
