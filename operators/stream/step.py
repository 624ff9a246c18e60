"""The interface of an operator with state: a pure function that an engine calls, or a test in virtual time.

The engine (`pipelines/engines/`) keeps the state that the function returns, sends its outputs, and calls it again.
Times are Unix seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from schemas.events import Event
from schemas.topics import Topic


@dataclass(frozen=True)
class Record:
    """One record of a topic, undecoded; `timestamp_ms` is when the broker appended it, by its clock, in Unix time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Arrival:
    """A decoded record: its event, and its position in its topic."""

    event: Event
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Output:
    """An event to send to a topic."""

    topic: Topic
    event: Event


@dataclass(frozen=True)
class Stop:
    """The end of a job that the engine must not restart: a restart would fail in the same way, or hide a fault.

    `reason` is a code, by which a launcher knows what to do. `why` is a line for operators, without patient data.
    """

    reason: str
    why: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.why}"

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the stop with this text."""
        return cls(*text.split(": ", 1))


@dataclass(frozen=True)
class Step:
    """The result of a step: the state to keep, the outputs to send, and the time of the next call without a record.

    `head` is the key's state, small versioned bytes; None removes it. `remember` is the entry to keep under the event's
    identity; None leaves the entry unchanged. `forget` removes every entry of the key. `wake_at` replaces the time that
    an earlier step asked for; None cancels it.
    """

    head: bytes | None
    remember: bytes | None = None
    forget: bool = False
    outputs: tuple[Output, ...] = ()
    wake_at: float | None = None


# step(head, seen, arrival, now, started) -> Step. `head` is the key's state and `seen` the entry under the identity of
# the arrival's event; each is None if nothing is kept. `arrival` is None when `wake_at` of an earlier step has come.
# `started` is when this run of the job began. The engine calls it with a key's records in order, and never twice at the
# same time for one key. After a failure it calls it again with the records since the last checkpoint and the state of
# that checkpoint.
StepFunction = Callable[[bytes | None, bytes | None, Arrival | None, float, float], Step]

# identity(event) -> the key of the entry that `seen` is read from and `remember` is written to.
IdentityFunction = Callable[[Event], str]


@dataclass(frozen=True)
class Flushed:
    """The result of a flush: the shard's state to keep, the outputs to send.

    With a stop, the engine sends the outputs, calls no flush any more, and ends the job. The state is not kept: once an
    operator or the launcher starts the job again, the same records are flushed again.
    """

    head: bytes
    outputs: tuple[Output, ...] = ()
    stop: Stop | None = None


# flush(shard, head, records, now) -> Flushed: write one shard's records, in order of arrival. The engine keeps the
# records until the flush has returned and a checkpoint is complete. After a failure it flushes the same records again,
# perhaps with later records after them, so every effect must be an upsert. A record that can never be written becomes a
# dead letter among the outputs; any error that the flush raises fails the job, which then restarts.
FlushFunction = Callable[[int, bytes | None, tuple[Record, ...], float], Flushed]
