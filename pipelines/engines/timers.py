"""What the engine keeps beside a step's head: when the step wishes to be called, and the one timer that will call it.

A timer is never deleted: one that fires for an older wish finds another moment kept here, and does nothing.
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
class Kept:
    """A key's state: the step's head, the moment it wishes to be called, the moment of the timer (Unix ms)."""

    head: bytes | None = None
    wish_ms: int = NEVER
    timer_ms: int = NEVER

    @classmethod
    def read(cls, data: bytes | None) -> Self:
        """Read what write() gave; a key without state has none of the three."""
        if data is None:
            return cls()
        version, wish_ms, timer_ms, has_head = LAYOUT.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"engine state of version {version}, this code reads {VERSION}")
        return cls(data[LAYOUT.size :] if has_head else None, wish_ms, timer_ms)

    def write(self) -> bytes | None:
        """Return the bytes to keep; None when there is nothing to keep."""
        if self == Kept():
            return None
        return LAYOUT.pack(VERSION, self.wish_ms, self.timer_ms, self.head is not None) + (self.head or b"")


def stepped(kept: Kept, step: Step, now_ms: int) -> tuple[Kept, int | None]:
    """Return what to keep after a step, and the moment at which a new timer is needed, if one is."""
    if step.wake_at is None:
        return Kept(step.head), None
    # Never this same moment again: a step that is not satisfied must not spin.
    wish_ms = max(math.ceil(step.wake_at * 1000), now_ms + 1)
    if kept.timer_ms != NEVER and kept.timer_ms <= wish_ms:
        return Kept(step.head, wish_ms, kept.timer_ms), None
    return Kept(step.head, wish_ms, wish_ms), wish_ms


def fired(kept: Kept, timer_ms: int) -> Kept | None:
    """Return the state once its timer has fired; None when that timer was for a wish of long ago."""
    return Kept(kept.head, kept.wish_ms) if kept.timer_ms == timer_ms else None


def too_early(kept: Kept, now_ms: int) -> tuple[Kept, int] | None:
    """When the wish has moved on since the timer was set, give what to keep and the timer's next moment."""
    if kept.wish_ms <= now_ms:
        return None
    return Kept(kept.head, kept.wish_ms, kept.wish_ms), kept.wish_ms
