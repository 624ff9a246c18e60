"""The engine's timer state of a key, kept with its step's state: the time that the step asked for, and its timer.

A timer is never deleted: a timer that no longer counts is recognised by its time when it fires, and does nothing.
"""

import math
import struct
from dataclasses import dataclass
from typing import Self

from operators.stream.newer_release import UnknownState
from operators.stream.step import Step

VERSION = 1
LAYOUT = struct.Struct(">Bqq?")
NEVER = -1


@dataclass(frozen=True)
class TimerState:
    """A key's state: the step's, the time at which the step asked to be called, and the time of the timer (Unix ms)."""

    head: bytes | None = None
    wake_ms: int = NEVER
    timer_ms: int = NEVER

    @classmethod
    def read(cls, data: bytes | None) -> Self:
        """Return the state in the bytes of write(); an empty state without bytes. Raises UnknownState."""
        if data is None:
            return cls()
        version, wake_ms, timer_ms, has_head = LAYOUT.unpack_from(data)
        if version != VERSION:
            raise UnknownState(
                f"engine state has version {version}, but this release reads {VERSION}: run the release that wrote it"
            )
        return cls(data[LAYOUT.size :] if has_head else None, wake_ms, timer_ms)

    def write(self) -> bytes | None:
        """Return the bytes to keep; None when there is nothing to keep."""
        if self == TimerState():
            return None
        return LAYOUT.pack(VERSION, self.wake_ms, self.timer_ms, self.head is not None) + (self.head or b"")


def after_step(state: TimerState, step: Step, now_ms: int) -> tuple[TimerState, int | None]:
    """Return the state after a step, and the time of a new timer; None when no new timer is needed."""
    if step.wake_at is None:
        return TimerState(step.head), None
    # At least 1 ms later, so that a step that always asks for the present time does not make the engine spin.
    wake_ms = max(math.ceil(step.wake_at * 1000), now_ms + 1)
    if state.timer_ms != NEVER and state.timer_ms <= wake_ms:
        return TimerState(step.head, wake_ms, state.timer_ms), None
    return TimerState(step.head, wake_ms, wake_ms), wake_ms


def after_timer(state: TimerState, timer_ms: int) -> TimerState | None:
    """Return the state after its timer has fired; None when the timer that fired is not the state's."""
    return TimerState(state.head, state.wake_ms) if state.timer_ms == timer_ms else None


def rearmed_if_early(state: TimerState, now_ms: int) -> tuple[TimerState, int] | None:
    """Return the state with a new timer, and its time, if the step wants to be called later than now; else None."""
    if state.wake_ms <= now_ms:
        return None
    return TimerState(state.head, state.wake_ms, state.wake_ms), state.wake_ms
