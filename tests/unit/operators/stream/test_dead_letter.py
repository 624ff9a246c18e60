"""A dead letter says where a rejected record lay and why it was rejected, and holds its bytes untouched."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from operators.stream.dead_letter import NO_TENANT, rejected
from operators.stream.step import Record
from schemas.codec import decode, encode
from schemas.events import RecordRejected
from schemas.topics import RECORD_REJECTED
from tests.support.worlds.catalog_histories import NOON

RECORD = Record("instance-stored", 3, 41, 0, b"local/1.2.3", b"\x00\xff not an event")


def letter(record: Record, operator: str = "catalog", reason: str = "not-an-event") -> RecordRejected:
    output = rejected(record, operator, reason, NOON)
    assert output.topic is RECORD_REJECTED
    assert isinstance(output.event, RecordRejected)
    return output.event


def test_a_dead_letter_holds_the_records_position_and_bytes() -> None:
    event = letter(RECORD)

    assert (event.origin_topic, event.origin_partition, event.origin_offset) == ("instance-stored", 3, 41)
    assert (event.origin_key, event.origin_value) == (RECORD.key, RECORD.value)
    assert (event.operator, event.reason, event.occurred_at) == ("catalog", "not-an-event", NOON)


def test_the_same_record_has_the_same_event_id_however_often_it_is_rejected() -> None:
    assert letter(RECORD).event_id == letter(RECORD, reason="other").event_id


@pytest.mark.parametrize("other", [{"topic": "study-due"}, {"partition": 4}, {"offset": 42}])
def test_another_record_has_another_event_id(other: dict[str, object]) -> None:
    assert letter(replace(RECORD, **other)).event_id != letter(RECORD).event_id  # type: ignore[arg-type]


def test_another_operator_that_rejects_the_record_has_another_event_id() -> None:
    assert letter(RECORD, operator="study").event_id != letter(RECORD).event_id


@pytest.mark.parametrize(
    ("key", "tenant"),
    [
        (b"local/1.2.3", "local"),
        (b"a-clinic-7", "a-clinic-7"),
        (b"", NO_TENANT),
        (b"No One/1.2", NO_TENANT),
        (b"\xff\xfe/1.2", NO_TENANT),
        (b"x" * 33 + b"/1", NO_TENANT),
    ],
)
def test_the_tenant_is_the_one_that_the_key_names_if_it_names_one(key: bytes, tenant: str) -> None:
    assert letter(replace(RECORD, key=key)).tenant == tenant


@pytest.mark.parametrize(
    ("unix_ms", "origin_at"), [(1000, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)), (-1, None), (2**62, None)]
)
def test_a_dead_letter_says_when_its_record_was_appended_unless_that_is_no_time(
    unix_ms: int, origin_at: datetime | None
) -> None:
    event = rejected(replace(RECORD, timestamp_ms=unix_ms), "catalog", "not-an-event", NOON).event

    assert isinstance(event, RecordRejected)
    assert event.origin_at == origin_at
    assert decode(encode(event)) == event
