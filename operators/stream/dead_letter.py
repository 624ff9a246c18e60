"""The dead letter of a record that can never be processed: its reason, its position, and its bytes untouched."""

from datetime import UTC, datetime

from operators.stream.step import Output, Record
from schemas.events import RecordRejected, event_id
from schemas.objects import TENANT
from schemas.topics import RECORD_REJECTED

# What code without I/O raises when it is wrong about a record. Flink restarts a job after any error, which then meets the
# same record again: so such a record is rejected alone, and the limit on rejected records tells an error of the program
# from a single odd record.
UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# The tenant of a dead letter when the rejected record's key names no tenant.
NO_TENANT = "-"


def rejected(record: Record, operator: str, reason: str, now: datetime) -> Output:
    """Return the dead letter of a record that `operator` rejects; the same record has the same event id each time."""
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
            origin_at=_moment(record.timestamp_ms),
        ),
    )


def unforeseen(error: Exception) -> str:
    """Return the reason code of a record at which the code failed: the error's kind, which says nothing of the record."""
    return f"unforeseen-{type(error).__name__}"


def _moment(unix_ms: int) -> datetime | None:
    """Return when a record was appended; None for a time that is none, as any sender may give where it dates records."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC) if unix_ms >= 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _tenant(key: bytes) -> str:
    name = key.partition(b"/")[0].decode("ascii", "replace")
    return name if TENANT.fullmatch(name) else NO_TENANT
