"""How a record that can never succeed leaves: with its reason, where it lay, and its bytes untouched."""

from datetime import datetime

from operators.stream.step import Output, Record
from schemas.events import RecordRejected, event_id
from schemas.objects import TENANT
from schemas.topics import RECORD_REJECTED

# Stands for the tenant where a record's key names none.
NOBODY = "-"


def rejected(record: Record, operator: str, reason: str, now: datetime) -> Output:
    """Return the dead letter of a record; the same record gives the same event id."""
    return Output(
        RECORD_REJECTED,
        RecordRejected(
            event_id=event_id("rejected", operator, record.topic, str(record.partition), str(record.offset)),
            tenant=_tenant(record.key),
            occurred_at=now,
            operator=operator,
            reason=reason,
            origin_topic=record.topic,
            origin_partition=record.partition,
            origin_offset=record.offset,
            origin_key=record.key,
            origin_value=record.value,
        ),
    )


def _tenant(key: bytes) -> str:
    name = key.partition(b"/")[0].decode("ascii", "replace")
    return name if TENANT.fullmatch(name) else NOBODY
