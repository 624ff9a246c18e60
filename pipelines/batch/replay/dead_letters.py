"""The dead letters that a broker keeps: read from one moment to another, and counted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from operators.connectors.kafka.positions import Positions
from operators.connectors.kafka.reading import TopicReader
from operators.errors import Rejected
from operators.stream.letters import DeadLetter, dead_letter
from schemas.settings.servers import BrokerSettings
from schemas.topics import RECORD_REJECTED

Spans = Mapping[int, range]


@dataclass
class LetterReading:
    """One reading of the dead letters in spans of their topic; it counts what it reads, and what it cannot read."""

    broker: BrokerSettings
    spans: Spans
    done: int = 0
    unreadable: int = 0

    @property
    def records(self) -> int:
        """Return how many records the spans have at most."""
        return sum(map(len, self.spans.values()))

    def letters(self) -> Iterator[DeadLetter]:
        """Yield the dead letters, the earliest first. Raises Unavailable."""
        with TopicReader(self.broker, RECORD_REJECTED.name, self.spans) as reader:
            for record in reader.records():
                self.done += 1
                try:
                    letter = dead_letter(record)
                except Rejected:
                    self.unreadable += 1
                    continue
                yield letter


def spans_of(positions: Positions, begin: datetime | None = None, until: datetime | None = None) -> Spans:
    """Return the offsets of the dead letters from one moment to another, at most those that are there now.

    Raises Unavailable.
    """
    topic = RECORD_REJECTED.name
    extents = {partition: extent for (_, partition), extent in positions.extents([topic]).items()}
    begins = _offsets(positions, begin) if begin else {number: one.earliest for number, one in extents.items()}
    ends = _offsets(positions, until) if until else {number: one.end for number, one in extents.items()}
    return {
        number: range(max(begins[number], one.earliest), min(ends[number], one.end)) for number, one in extents.items()
    }


def spans_since(positions: Positions, before: Spans) -> Spans:
    """Return the offsets of the dead letters that came after those of earlier spans. Raises Unavailable."""
    return {number: range(before[number].stop, span.stop) for number, span in spans_of(positions).items()}


def _offsets(positions: Positions, moment: datetime) -> dict[int, int]:
    at_ms = max(round(moment.timestamp() * 1000), 0)
    found = positions.offsets_at([RECORD_REJECTED.name], at_ms)
    return {partition: offset for (_, partition), offset in found.items()}
