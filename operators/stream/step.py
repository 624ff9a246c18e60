"""The shape of an operator that keeps state: pure functions, which an engine or a test in virtual time calls.

A step is a function of values. The engine (`pipelines/engines/`) keeps the state that the step returns, sends its
outputs, and calls it again. Times are Unix seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.events import Event
from schemas.topics import Topic


@dataclass(frozen=True)
class Record:
    """One record of a topic, undecoded; its timestamp is the broker's."""

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
class Step:
    """The result of a step: the state to keep, the outputs to send, the moment of the next call without a record.

    `head` is the key's state, small versioned bytes; None drops it. `remember` is the entry to keep under the event's
    identity; None leaves that entry as it is. `forget` drops every entry of the key. `wake_at` replaces the moment that
    an earlier step asked for; None asks for no call.
    """

    head: bytes | None
    remember: bytes | None = None
    forget: bool = False
    outputs: tuple[Output, ...] = ()
    wake_at: float | None = None


# step(head, seen, arrival, now, started) -> Step. `head` is the key's state, `seen` the entry under the identity of the
# arrival's event, each None if nothing is kept. `arrival` is None when the moment that a step asked for has come.
# `started` is when this run of the job began. Called with one key's records in order, never twice at once for a key.
# After a failure it is called again with the records since the last checkpoint and the state of that checkpoint.
StepFunction = Callable[[bytes | None, bytes | None, Arrival | None, float, float], Step]

# identity(event) -> the key of the entry that `seen` is read from and `remember` is written to.
IdentityFunction = Callable[[Event], str]


@dataclass(frozen=True)
class Flushed:
    """The result of a flush: the shard's state to keep, the outputs to send."""

    head: bytes
    outputs: tuple[Output, ...] = ()


# flush(shard, head, records, now) -> Flushed: write one shard's records, in order of arrival. The engine keeps the
# records until the flush returns and a checkpoint is complete: after a failure it flushes the same ones again, perhaps
# with others behind them. So every effect is an upsert. A record that can never be written becomes a dead letter among
# the outputs; any error that the flush raises fails the job, which starts again.
FlushFunction = Callable[[int, bytes | None, tuple[Record, ...], float], Flushed]
