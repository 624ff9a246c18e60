"""A shard's progress in rows, and what the engine's state remembers of it: bytes that are read back or refused."""

import base64
from pathlib import Path

import pytest

from operators.catalog.progress import (
    CarriedProgress,
    ShardMemory,
    ShardProgress,
    applied_by,
    beginning,
    due_of,
    place_of,
    read_memory,
    read_positions,
    starting_offsets,
    waiting_row,
)
from operators.catalog.rows import AppliedOffsetRow, TopicPartition
from operators.stream.newer_release import UnknownState
from operators.stream.origin import Origin
from schemas.codec import MARKER, UnknownSchema, encode
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import due, instance, record

TOPIC = INSTANCE_STORED.name
IDS = {TOPIC: "A", "study-due": "B", "study-command": "C"}
CARRIED = base64.b64encode(encode(due(place=(0, 9)))).decode()


def place(partition: int = 0, topic: str = TOPIC, topic_id: str = "A") -> TopicPartition:
    return TopicPartition(topic, topic_id, partition)


def row(shard: int, offset: int, *, shards: int = 2, topic_id: str = "A", partition: int = 0) -> AppliedOffsetRow:
    return AppliedOffsetRow(shards, shard, TOPIC, topic_id, partition, offset)


def test_the_last_offset_of_each_partition_of_each_topic_is_applied() -> None:
    records = [record(instance(), 7), record(instance(), 3), record(instance(), 3, partition=1), record(due(), 9)]

    assert applied_by(records, IDS) == {place(): 7, place(1): 3, place(topic="study-due", topic_id="B"): 9}


def test_an_older_record_does_not_lower_the_applied_offset() -> None:
    before = ShardProgress({place(): 7, place(1): 1}, 12)

    assert before.advanced({place(): 3, place(2): 4}) == ShardProgress({place(): 7, place(1): 1, place(2): 4}, 12)
    assert before == ShardProgress({place(): 7, place(1): 1}, 12)


@pytest.mark.parametrize(("offset", "is_ready"), [(6, True), (7, True), (8, False)])
def test_a_due_is_ready_when_the_last_record_that_it_counts_is_applied(offset: int, is_ready: bool) -> None:  # noqa: FBT001
    assert (ShardProgress({place(): 7}).awaited(due(place=(0, offset)), IDS) is None) is is_ready


@pytest.mark.parametrize("applied", [place(1), place(topic="transfer-ended"), place(topic_id="before")])
def test_a_due_is_not_ready_for_records_of_another_partition_or_topic(applied: TopicPartition) -> None:
    assert ShardProgress({applied: 7}).awaited(due(place=(0, 7)), IDS) == (place(), 7)


def test_a_due_that_counts_no_instances_is_always_ready() -> None:
    assert ShardProgress().awaited(due(), IDS) is None


def test_a_due_waits_for_the_commands_that_it_counts_after_its_instances() -> None:
    commands, both = place(3, "study-command", "C"), due(place=(0, 7), commands=(3, 9))

    assert ShardProgress({commands: 9}).awaited(both, IDS) == (place(), 7)
    assert ShardProgress({place(): 7}).awaited(both, IDS) == (commands, 9)
    assert ShardProgress({place(): 7, commands: 8}).awaited(due(commands=(3, 9)), IDS) == (commands, 9)
    assert ShardProgress({place(): 7, commands: 9}).awaited(both, IDS) is None


def test_a_waiting_due_is_read_back_from_its_row() -> None:
    waiting = waiting_row(due(place=(3, 9)), place(3), 9)

    assert (place_of(waiting), waiting.offset) == (place(3), 9)
    assert due_of(waiting) == due(place=(3, 9))


def test_a_job_without_state_begins_after_the_lowest_of_its_shards() -> None:
    rows = [row(0, 7), row(1, 4), row(0, 9, shards=1)]

    assert starting_offsets(rows, 2, IDS) == {(TOPIC, 0): 5}
    assert starting_offsets(rows, 1, IDS) == {(TOPIC, 0): 10}


def test_a_partition_that_a_shard_has_not_read_is_read_from_its_earliest_record() -> None:
    assert starting_offsets([row(0, 7), row(0, 3, partition=1), row(1, 3, partition=1)], 2, IDS) == {(TOPIC, 1): 4}


def test_offsets_of_a_deleted_topic_say_nothing_of_the_present_one() -> None:
    rows = [row(0, 7, shards=1, topic_id="before")]

    assert starting_offsets(rows, 1, IDS) == read_positions(rows, IDS) == {}


def test_a_position_is_after_the_last_record_that_any_shard_has_applied() -> None:
    assert read_positions([row(0, 7), row(1, 4), row(1, 3, partition=1)], IDS) == {(TOPIC, 0): 8, (TOPIC, 1): 4}


@pytest.mark.parametrize(
    ("offset", "is_ahead"), [({place(): 7}, False), ({place(): 8}, True), ({place(1): 0}, True), ({}, False)]
)
def test_rows_behind_what_is_remembered_are_noticed(offset: dict[TopicPartition, int], is_ahead: bool) -> None:  # noqa: FBT001
    assert ShardMemory(offset).is_ahead_of(ShardProgress({place(): 7})) is is_ahead


def test_a_memory_is_read_back_from_its_bytes() -> None:
    memory = ShardMemory({place(): 7, place(15, "study-due", "B"): 0}, 1234, 1240)

    assert read_memory(memory.to_bytes(), IDS) == memory


def test_a_job_that_begins_at_an_offset_knows_that_the_records_before_were_handled() -> None:
    origin = Origin(IDS, {(TOPIC, 0): 8, (TOPIC, 1): 0}, {3: 1234})

    assert beginning(origin, 3) == ShardMemory({place(): 7}, 1234)
    assert beginning(Origin(IDS), 3) == ShardMemory()


def test_the_progress_that_an_earlier_release_kept_in_its_state_is_read() -> None:
    data = f'{{"version":1,"applied":[["{TOPIC}",0,7]],"waiting":["{CARRIED}"],"announced":1234}}'
    carried = CarriedProgress({place(): 7}, (due(place=(0, 9)),))

    assert read_memory(data.encode(), IDS) == ShardMemory({}, 1234, 1234, carried)


def test_the_bytes_of_an_earlier_release_are_read() -> None:
    data = (Path(__file__).parent / "shard_state_1.json").read_bytes()
    memory = read_memory(data, IDS)

    assert (memory.announced, len(memory.carried.applied)) == (1777777777000123, 3)
    assert [one.instance_offset for one in memory.carried.waiting] == [9]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 2}',
        b'{"version": 2, "applied": [["instance-stored", 0]], "announced": 0, "sent": 0}',
        b'{"version": 1, "applied": 7, "waiting": [], "announced": 0}',
        b'{"version": 1, "applied": [["instance-stored", 0]], "waiting": [], "announced": 0}',
        b'{"version": 1, "applied": [], "waiting": ["no base64"], "announced": 0}',
        b'{"version": 1, "applied": [], "waiting": ["AA=="], "announced": 0}',
    ],
)
def test_bytes_that_are_no_memory_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_memory(data, IDS)


def test_a_memory_of_another_version_is_refused() -> None:
    data = ShardMemory().to_bytes().replace(b'"version":2', b'"version":3')

    with pytest.raises(UnknownState, match="version 3"):
        read_memory(data, IDS)


def test_a_due_of_a_newer_writer_is_an_unknown_schema() -> None:
    newer = base64.b64encode(MARKER + b"\1" * 8)

    with pytest.raises(UnknownSchema):
        read_memory(b'{"version":1,"applied":[],"waiting":["%b"],"announced":0}' % newer, IDS)


def test_a_carried_event_that_is_no_due_is_refused() -> None:
    other = base64.b64encode(encode(instance()))

    with pytest.raises(ValueError, match="cannot be read"):
        read_memory(b'{"version":1,"applied":[],"waiting":["%b"],"announced":0}' % other, IDS)
