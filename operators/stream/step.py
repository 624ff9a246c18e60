"""How an operator that keeps state is written: pure steps, which an engine or a test in virtual time drives.

A step is a function of values; the engine (`pipelines/engines/`) keeps what it returns, calls it again and
sends its outputs. Times are Unix seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.events import Event
from schemas.topics import Topic


@dataclass(frozen=True)
class Record:
    """One record of a topic as it lies there."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Arrival:
    """A decoded record: its event and where it lay."""

    event: Event
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Output:
    """An event to send."""

    topic: Topic
    event: Event


@dataclass(frozen=True)
class Step:
    """What a step leaves: state to keep, outputs to send, the next moment at which it wants to be called.

    `head` is the key's small versioned record, None to drop it. `remember` is the entry to write under the
    event's own identity, None to leave it as it is. `forget` drops every remembered entry of the key.
    `wake_at` replaces any earlier wish; None asks for no call.
    """

    head: bytes | None
    remember: bytes | None = None
    forget: bool = False
    outputs: tuple[Output, ...] = ()
    wake_at: float | None = None


# step(head, seen, event, now, started) -> Step. `seen` is the one remembered entry under the event's identity;
# `event` is None when the wished moment has come; `started` is when this job began.
StepFunction = Callable[[bytes | None, bytes | None, Arrival | None, float, float], Step]

# identity(event) -> the key under which `seen` and `remember` lie.
IdentityFunction = Callable[[Event], str]


@dataclass(frozen=True)
class Flushed:
    """What a flush leaves: the key's head to keep, outputs to send."""

    head: bytes
    outputs: tuple[Output, ...] = ()


# flush(shard, head, records, now) -> Flushed: writes a batch of one shard's records, in order of arrival. The engine
# buffers the records in its state and calls again with the same ones after a failure, so its effects are upserts.
FlushFunction = Callable[[int, bytes | None, tuple[Record, ...], float], Flushed]
