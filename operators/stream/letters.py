"""Dead letters read again: which of them somebody asks for, and the records that these reject, in the order to send them.

A rejected record is its topic, its key and its bytes. Every job that reads the topic may reject it, a job that starts
again from a checkpoint rejects it again, and so does each job after a replay, at another offset: all these dead letters
are one rejected record, whose place is the one where it lay first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, TypeVar

from operators.errors import Rejected
from operators.stream.rejections import Origin
from operators.stream.step import Record
from schemas.codec import NotAnEvent, UnknownSchema, decode
from schemas.events import RecordRejected

T = TypeVar("T")

DIGEST_BYTES = 16


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter, and when the broker appended it."""

    event: RecordRejected
    rejected_at: datetime

    @property
    def origin(self) -> Origin:
        """Return where the rejected record lay."""
        return self.event.origin_topic, self.event.origin_partition, self.event.origin_offset

    @property
    def record_id(self) -> bytes:
        """Return what all dead letters of the same rejected record have in common."""
        return _digest(self.key_id, self.event.origin_value or b"")

    @property
    def key_id(self) -> bytes:
        """Return what all rejected records with the same topic and key have in common."""
        return _digest(self.event.origin_topic.encode(), self.event.origin_key or b"")


@dataclass(frozen=True)
class LetterSelection:
    """Which dead letters somebody asks for: what is empty or None selects all; `rejected_to` is exclusive.

    `first` and `last` are offsets of rejected records, both inclusive.
    """

    operators: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    partition: int | None = None
    first: int | None = None
    last: int | None = None
    tenant: str | None = None
    rejected_from: datetime | None = None
    rejected_to: datetime | None = None
    event_ids: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, object]:
        """Return the conditions by their names, as values of JSON."""
        given = {name: value for name, value in self.__dict__.items() if value not in (None, frozenset())}
        return {name: sorted(one) if isinstance(one, frozenset) else str(one) for name, one in given.items()}

    def includes(self, letter: DeadLetter) -> bool:
        """True if the dead letter is asked for."""
        event, at = letter.event, letter.rejected_at
        return (
            (not self.operators or event.operator in self.operators)
            and (not self.reasons or event.reason in self.reasons)
            and (not self.topics or event.origin_topic in self.topics)
            and (not self.event_ids or event.event_id in self.event_ids)
            and self.partition in (None, event.origin_partition)
            and (self.first is None or self.first <= event.origin_offset)
            and (self.last is None or event.origin_offset <= self.last)
            and self.tenant in (None, event.tenant)
            and (self.rejected_from is None or self.rejected_from <= at)
            and (self.rejected_to is None or at < self.rejected_to)
        )


@dataclass(slots=True)
class RejectedRecord:
    """What is known of a rejected record besides its key and bytes; no patient data. `times` counts its dead letters."""

    origin: Origin
    key_id: bytes
    size_bytes: int
    operators: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    times: int = 0


class RejectedRecords:
    """The rejected records of the dead letters that were added; their bytes are not kept.

    A record takes 0.5 KB of memory, for which what many have alike is kept once.
    """

    def __init__(self) -> None:
        self.by_id: dict[bytes, RejectedRecord] = {}
        self._alike: dict[Any, Any] = {}

    def add(self, letter: DeadLetter) -> None:
        """Count a dead letter."""
        event, record_id = letter.event, letter.record_id
        topic, origin = self._kept(event.origin_topic), (event.origin_partition, event.origin_offset)
        if (record := self.by_id.get(record_id)) is None:
            size = len(event.origin_value or b"")
            record = self.by_id[record_id] = RejectedRecord((topic, *origin), self._kept(letter.key_id), size)
        record.origin = min(record.origin, (topic, *origin))
        record.operators = self._kept(record.operators | {event.operator})
        record.reasons = self._kept(record.reasons | {event.reason})
        record.times += 1

    def _kept(self, value: T) -> T:
        """Return the equal value that is kept already."""
        kept: T = self._alike.setdefault(value, value)
        return kept

    def in_order(self) -> list[RejectedRecord]:
        """Return the records by topic, partition and offset."""
        return sorted(self.by_id.values(), key=lambda one: one.origin)

    def queue(self) -> "SendingQueue":
        """Return the queue of these records."""
        return SendingQueue(self.by_id)


class SendingQueue:
    """Puts the records of each key into the order in which they lay, while their dead letters are read once more.

    A record waits here, with its bytes, for those before it: jobs do not all reject the same records.
    """

    def __init__(self, records: dict[bytes, RejectedRecord]) -> None:
        self._turns: dict[bytes, list[bytes]] = {}
        # The last first, so that the next one is popped.
        for record_id, record in sorted(records.items(), key=lambda one: one[1].origin, reverse=True):
            self._turns.setdefault(record.key_id, []).append(record_id)
        self._open = set(records)
        self._waiting: dict[bytes, DeadLetter] = {}

    def put(self, letter: DeadLetter) -> Iterator[DeadLetter]:
        """Take a dead letter; yield those whose turn has come, one of each record."""
        record_id = letter.record_id
        if record_id not in self._open:
            return
        self._open.remove(record_id)
        self._waiting[record_id] = letter
        turns = self._turns[letter.key_id]
        while turns and turns[-1] in self._waiting:
            yield self._waiting.pop(turns.pop())

    def rest(self) -> list[DeadLetter]:
        """Return what still waits, in order: the broker has deleted the dead letters of records before it meanwhile."""
        return sorted(self._waiting.values(), key=lambda one: one.origin)


def dead_letter(record: Record) -> DeadLetter:
    """Return the dead letter in a record; raises Rejected for a record that holds none, or one of a newer release."""
    try:
        event = decode(record.value)
    except (NotAnEvent, UnknownSchema) as error:
        raise Rejected("not-a-dead-letter") from error
    if not isinstance(event, RecordRejected):
        raise Rejected("not-a-dead-letter")
    return DeadLetter(event, datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()
