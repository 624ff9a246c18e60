"""The limit on rejected records: when many records fail, the fault is more likely in this code than in the records."""

from collections import deque
from collections.abc import Iterable, Sequence

from operators.stream.step import Output, Record
from schemas.events import RecordRejected
from schemas.topics import RECORD_REJECTED

WATCHED = 10_000
MOST_SHARE = 0.01
MOST_IN_A_ROW = 1_000
ADVICE = f"look for the reasons in the topic {RECORD_REJECTED.name}"


class TooManyRejected(RuntimeError):
    """Too many records were rejected: the job must stop until an operator has found out why."""


class Rejections:
    """The share of rejected records among the last 10,000, and the number rejected in a row."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WATCHED)
        self._rejected = 0
        self._in_a_row = 0

    def note(self, *, rejected: bool) -> None:
        """Count one record; raises TooManyRejected over 1 % of the last 10,000, or at 1,000 in a row."""
        if len(self._recent) == WATCHED:
            self._rejected -= self._recent[0]
        self._recent.append(rejected)
        self._rejected += rejected
        self._in_a_row = self._in_a_row + 1 if rejected else 0
        if self._in_a_row >= MOST_IN_A_ROW:
            raise TooManyRejected(f"{self._in_a_row} records in a row were rejected: {ADVICE}")
        if len(self._recent) == WATCHED and self._rejected > WATCHED * MOST_SHARE:
            raise TooManyRejected(f"{self._rejected} of the last {WATCHED} records were rejected: {ADVICE}")


def note_batch(rejections: Rejections, records: Sequence[Record], outputs: Iterable[Output]) -> None:
    """Count the records of a batch in their order; a record with a dead letter among the outputs counts as rejected.

    Raises TooManyRejected as note() does.
    """
    events = [output.event for output in outputs]
    rejected = {_origin(event) for event in events if isinstance(event, RecordRejected)}
    for record in records:
        rejections.note(rejected=(record.topic, record.partition, record.offset) in rejected)


def _origin(event: RecordRejected) -> tuple[str, int, int]:
    return event.origin_topic, event.origin_partition, event.origin_offset
