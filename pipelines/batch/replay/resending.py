"""Sending rejected records to their topics again, in portions, each only once the jobs have read the one before.

A record that is still bad comes back as another dead letter, and a job that rejects too many records stops. So the first
portion is small, each next one twice as large, and no more are sent once many have come back.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from operators.connectors.kafka.positions import Partition, Positions
from operators.connectors.kafka.sending import RawRecord, RecordSender
from operators.store.ports import Position
from operators.stream.letters import DeadLetter
from operators.stream.rejections import Origin
from pipelines.batch.replay.dead_letters import LetterReading, Spans, spans_of, spans_since
from pipelines.batch.terminal import NotDone
from pipelines.jobs import JOBS
from pipelines.launch.losses import BrokerPositions
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS

# Well below the 100 in 10,000 that stop a job.
FIRST_PORTION, MOST_BACK = 50, 50
LARGEST_PORTION, PORTION_BYTES = 1000, 8 * 2**20
# Jobs commit what they have read with their checkpoints, every 10 s by default.
ASK_S = 1.0

NO_JOB = "no job reads this topic"
# A record that is sent again would be the last of its key, and the broker would delete the newer one.
COMPACTED = "the topic keeps the last record of each key alone: put the policy again instead"


@dataclass(frozen=True)
class CameBack:
    """A record that was rejected again: the dead letter that was replayed, and the new one."""

    sent: DeadLetter
    again: DeadLetter


@dataclass
class Resending:
    """One replay. What was `sent`, `refused` by the broker for good, and `came_back` is counted as it goes.

    It ends once more than `most_back` have come back. `acknowledged` is called with each dead letter as soon as its record
    is appended, or refused. With `wait_s` 0 nothing is waited for, and nothing is known to come back: of those that were
    sent, `looked_at` were read by the jobs.
    """

    broker: BrokerSettings
    positions: Positions
    wait_s: float
    acknowledged: Callable[[DeadLetter], None]
    most_back: int = MOST_BACK
    sent: int = 0
    looked_at: int = 0
    refused: int = 0
    came_back: list[CameBack] = field(default_factory=list)

    def send(self, letters: Iterator[DeadLetter]) -> None:
        """Send the records of these dead letters, in this order. Raises Unavailable and NotDone."""
        sender = RecordSender(self.broker)
        size = FIRST_PORTION if self.wait_s else LARGEST_PORTION
        while portion := taken(letters, size):
            before = spans_of(self.positions) if self.wait_s else {}
            sent = self._append(sender, portion)
            if self.wait_s:
                back = self._back(before, sent)
                size = size if back else min(2 * size, LARGEST_PORTION)

    def _append(self, sender: RecordSender, portion: Sequence[DeadLetter]) -> dict[Origin, DeadLetter]:
        """Append a portion; return its dead letters by the new places of their records."""
        found = {}

        def reported(number: int, position: Position | None) -> None:
            letter = portion[number]
            if position is None:
                self.refused += 1
            else:
                self.sent += 1
                found[letter.event.origin_topic, position.partition, position.offset] = letter
            self.acknowledged(letter)

        sender.send([raw(letter) for letter in portion], reported)
        return found

    def _back(self, before: Spans, sent: dict[Origin, DeadLetter]) -> list[CameBack]:
        """Wait until the jobs have read what was sent; return what they rejected of it."""
        self._wait_for_jobs(sent)
        reading = LetterReading(self.broker, spans_since(self.positions, before))
        found = {one.origin: CameBack(sent[one.origin], one) for one in reading.letters() if one.origin in sent}
        self.came_back += found.values()
        self.looked_at = self.sent
        if len(self.came_back) > self.most_back:
            raise NotDone(f"{len(self.came_back)} rejected again are too many (--most-back): nothing more is sent")
        return list(found.values())

    def _wait_for_jobs(self, sent: Iterable[Origin]) -> None:
        last: dict[Partition, int] = {}
        for topic, partition, offset in sent:
            last[topic, partition] = max(offset, last.get((topic, partition), 0))
        deadline = time.monotonic() + self.wait_s
        while behind := jobs_behind(self.positions, last):
            if time.monotonic() > deadline:
                raise NotDone(
                    f"job {' and job '.join(behind)} did not read what was sent within {self.wait_s:g} s: nothing more is sent; "
                    f"python -m deploy.commands jobs list says if it has stopped"
                )
            time.sleep(ASK_S)


def jobs_behind(positions: BrokerPositions, last: dict[Partition, int]) -> list[str]:
    """Return the jobs that have not read up to these offsets, of the topics that each reads. Raises Unavailable."""
    found = []
    for job in JOBS:
        mine = {place: offset for place, offset in last.items() if place[0] in job.topics}
        committed = positions.committed(job.name, mine) if mine else {}
        if any(committed.get(place, 0) <= offset for place, offset in mine.items()):
            found.append(job.name)
    return found


def why_not(topic: str) -> str | None:
    """Return why records of a topic cannot be sent again; None if they can."""
    if not any(topic in job.topics for job in JOBS):
        return NO_JOB
    return COMPACTED if any(one.name == topic and one.retention_ms is None for one in TOPICS) else None


def raw(letter: DeadLetter) -> RawRecord:
    """Return the record that a dead letter rejects."""
    event = letter.event
    return RawRecord(event.origin_topic, event.origin_key or b"", event.origin_value or b"")


def taken(letters: Iterator[DeadLetter], most: int) -> list[DeadLetter]:
    """Return the next dead letters: at most so many, and not much more than PORTION_BYTES."""
    found, size = list[DeadLetter](), 0
    while len(found) < most and size < PORTION_BYTES and (letter := next(letters, None)) is not None:
        found.append(letter)
        size += len(letter.event.origin_value or b"")
    return found
