"""An engine for steps in virtual time: what `pipelines/engines/steps.py` does on Flink, with a clock that tests move."""

import heapq
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from operators.stream.step import Arrival, IdentityFunction, Output, Step, StepFunction
from pipelines.engines.timers import TimerState, after_step, after_timer, rearmed_if_early


@dataclass
class State:
    """The content of a checkpoint: each key's bytes, its remembered entries, its timers (Unix ms)."""

    kept: dict[str, bytes] = field(default_factory=dict)
    remembered: dict[str, dict[str, bytes]] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)


class Engine:
    """An engine that runs one step over keys; time passes only in run_until()."""

    def __init__(self, step: StepFunction, identity: IdentityFunction, now: float = 0.0) -> None:
        self._step = step
        self._identity = identity
        self._state = State()
        self.now = self.started = now
        self.outputs: list[Output] = []

    def feed(self, key: str, arrival: Arrival) -> None:
        """Pass a record to the step, now."""
        kept = TimerState.read(self._state.kept.get(key))
        entries = self._state.remembered.setdefault(key, {})
        name = self._identity(arrival.event)
        step = self._step(kept.head, entries.get(name), arrival, self.now, self.started)
        if step.remember is not None:
            entries[name] = step.remember
        self._after(key, kept, step)

    def run_until(self, now: float) -> None:
        """Let time pass until `now`; timers fire in order, each at its time or, when that is over, at once."""
        while self._state.timers and self._state.timers[0][0] <= now * 1000:
            at_ms, key = heapq.heappop(self._state.timers)
            self.now = max(self.now, at_ms / 1000)
            self._fire(key, at_ms)
        self.now = max(self.now, now)

    def snapshot(self) -> State:
        """Return a checkpoint."""
        return deepcopy(self._state)

    def restore(self, state: State, now: float) -> None:
        """Start again from a checkpoint, at a later time; outputs that were sent stay sent."""
        self._state = deepcopy(state)
        self.now = self.started = now

    @property
    def entries(self) -> int:
        """Return the number of remembered entries of all keys."""
        return sum(len(entries) for entries in self._state.remembered.values())

    @property
    def heads(self) -> dict[str, bytes]:
        """Return the state of every key that has one."""
        return self._state.kept

    def _fire(self, key: str, at_ms: int) -> None:
        kept = after_timer(TimerState.read(self._state.kept.get(key)), at_ms)
        if kept is None:
            return
        if later := rearmed_if_early(kept, self._now_ms):
            self._keep(key, *later)
            return
        self._after(key, kept, self._step(kept.head, None, None, self._now_ms / 1000, self.started))

    def _after(self, key: str, kept: TimerState, step: Step) -> None:
        if step.forget:
            self._state.remembered.pop(key, None)
        self._keep(key, *after_step(kept, step, self._now_ms))
        self.outputs.extend(step.outputs)

    def _keep(self, key: str, kept: TimerState, timer_ms: int | None) -> None:
        data = kept.write()
        if data is None:
            self._state.kept.pop(key, None)
        else:
            self._state.kept[key] = data
        if timer_ms is not None and (timer_ms, key) not in self._state.timers:
            heapq.heappush(self._state.timers, (timer_ms, key))

    @property
    def _now_ms(self) -> int:
        return round(self.now * 1000)


def events(outputs: list[Output], kind: Callable[..., Any]) -> list[Any]:
    """Return the events of one kind among outputs, in order."""
    return [output.event for output in outputs if type(output.event) is kind]
