"""What the engine keeps beside a step's state: the moment that the step asked for, and the timer that is set.

A timer is never deleted. A timer that fires for an earlier wish finds another moment kept here, and does nothing.
"""

import math
import struct
from dataclasses import dataclass
from typing import Self

from operators.stream.step import Step

VERSION = 1
LAYOUT = struct.Struct(">Bqq?")
NEVER = -1


@dataclass(frozen=True)
class TimerState:
    """A key's state: the step's own, the moment at which the step asked to be called, the timer's (Unix ms)."""

    head: bytes | None = None
    wish_ms: int = NEVER
    timer_ms: int = NEVER

    @classmethod
    def read(cls, data: bytes | None) -> Self:
        """Read what write() returned; a key without state has none of the three. Raises ValueError."""
        if data is None:
            return cls()
        version, wish_ms, timer_ms, has_head = LAYOUT.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"engine state of version {version}, this code reads {VERSION}")
        return cls(data[LAYOUT.size :] if has_head else None, wish_ms, timer_ms)

    def write(self) -> bytes | None:
        """Return the bytes to keep; None when there is nothing to keep."""
        if self == TimerState():
            return None
        return LAYOUT.pack(VERSION, self.wish_ms, self.timer_ms, self.head is not None) + (self.head or b"")


def stepped(state: TimerState, step: Step, now_ms: int) -> tuple[TimerState, int | None]:
    """Return the state after a step, and the moment at which a new timer is needed, if one is."""
    if step.wake_at is None:
        return TimerState(step.head), None
    # Later than now: a step that asks for the present moment again and again must not spin.
    wish_ms = max(math.ceil(step.wake_at * 1000), now_ms + 1)
    if state.timer_ms != NEVER and state.timer_ms <= wish_ms:
        return TimerState(step.head, wish_ms, state.timer_ms), None
    return TimerState(step.head, wish_ms, wish_ms), wish_ms


def fired(state: TimerState, timer_ms: int) -> TimerState | None:
    """Return the state once its timer has fired; None when another timer has fired, set for an earlier wish."""
    return TimerState(state.head, state.wish_ms) if state.timer_ms == timer_ms else None


def too_early(state: TimerState, now_ms: int) -> tuple[TimerState, int] | None:
    """Return the state and the timer's next moment if the wish has moved on since the timer was set; else None."""
    if state.wish_ms <= now_ms:
        return None
    return TimerState(state.head, state.wish_ms, state.wish_ms), state.wish_ms
