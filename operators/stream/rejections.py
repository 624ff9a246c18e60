"""The limit on rejected records: when many records fail, the fault is more likely in this code than in the records."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from operators.stream.step import Output, Record, Stop
from schemas.events import RecordRejected
from schemas.settings.jobs import JobSettings

WATCHED = 10_000
TOO_MANY_REJECTED = "too-many-rejected"
# The partitions that the reason of a stop names one by one.
MOST_NAMED = 8

# The topic, partition and offset of a record.
Origin = tuple[str, int, int]


class Rejections:
    """The share of rejected records among the last 10,000, and the number rejected in a row."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        # Each watched record: its origin and the reason of its rejection; None for a record that was not rejected.
        self._recent: deque[tuple[Origin, str] | None] = deque(maxlen=WATCHED)
        self._rejected = 0
        self._in_a_row = 0

    def note(self, record: Record, reason: str | None) -> Stop | None:
        """Count a record, with the reason if it was rejected; return a stop if that was one too many, else None."""
        if len(self._recent) == WATCHED:
            self._rejected -= self._recent[0] is not None
        self._recent.append(None if reason is None else (_origin_of(record), reason))
        self._rejected += reason is not None
        self._in_a_row = 0 if reason is None else self._in_a_row + 1
        if self._in_a_row >= self._settings.rejected_in_a_row:
            return self._stop(f"{self._in_a_row} records in a row were rejected", self._in_a_row)
        if len(self._recent) == WATCHED and self._rejected > WATCHED * self._settings.rejected_share:
            return self._stop(f"{self._rejected} of the last {WATCHED} records were rejected", WATCHED)
        return None

    def _stop(self, what: str, records: int) -> Stop:
        rejected = [one for one in list(self._recent)[-records:] if one is not None]
        return Stop(TOO_MANY_REJECTED, f"{what}: {_summary(rejected)}")


def note_batch(rejections: Rejections, records: Sequence[Record], outputs: Iterable[Output]) -> Stop | None:
    """Count the records of a batch in their order; a record with a dead letter among the outputs counts as rejected.

    Returns the first stop, after which no record is counted.
    """
    events = [output.event for output in outputs]
    reasons = {_origin(event): event.reason for event in events if isinstance(event, RecordRejected)}
    for record in records:
        if stop := rejections.note(record, reasons.get(_origin_of(record))):
            return stop
    return None


def _summary(rejected: Sequence[tuple[Origin, str]]) -> str:
    """Return where the rejected records lie and why they were rejected, as text without anything of their content."""
    offsets: dict[tuple[str, int], list[int]] = {}
    for (topic, partition, offset), _ in rejected:
        offsets.setdefault((topic, partition), []).append(offset)
    named = [f"{topic}/{partition} {min(found)}-{max(found)}" for (topic, partition), found in sorted(offsets.items())]
    more = [f"{len(named) - MOST_NAMED} more partitions"] if len(named) > MOST_NAMED else []
    reasons = [f"{reason} {count}" for reason, count in Counter(reason for _, reason in rejected).most_common()]
    return f"at offsets {', '.join(named[:MOST_NAMED] + more)}; reasons {', '.join(reasons)}"


def _origin_of(record: Record) -> Origin:
    return record.topic, record.partition, record.offset


def _origin(event: RecordRejected) -> Origin:
    return event.origin_topic, event.origin_partition, event.origin_offset
