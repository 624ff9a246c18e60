"""A step sees each record of a batch in order; after a stop it is not called any more, and the outputs before are kept."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.stream.step import Arrival, Record, Step, Stop
from pipelines.engines.kafka import stop_row
from pipelines.engines.steps import KeyedStep, KeyedSteps
from pipelines.engines.timers import NEVER, TimerState
from schemas.codec import HEADER_BYTES, MARKER, decode, encode
from schemas.events import Event, RecordRejected
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED, RECORD_REJECTED
from tests.support.worlds.packed import pack
from tests.support.worlds.studies import KEY, instance

GOOD = encode(instance(1))
NEWER = MARKER + bytes(8) + GOOD[HEADER_BYTES:]


class State:
    """The state of one key, which counts its reads and writes."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.uses: list[str] = []

    def value(self) -> bytes | None:
        self.uses.append("read")
        return self.content

    def update(self, value: bytes) -> None:
        self.uses.append("write")
        self.content = value

    def clear(self) -> None:
        self.uses.append("write")
        self.content = None

    def get(self, _: str) -> None:
        return None


class Context:
    """The runtime context of an operator, and the context of each call, with the timers that it registers."""

    def __init__(self) -> None:
        self.timers: list[int] = []

    def get_state(self, _: Any) -> State:
        return State()

    get_map_state = get_state

    def timer_service(self) -> "Context":
        return self

    def register_processing_time_timer(self, at_ms: int) -> None:
        self.timers.append(at_ms)


class CountedSteps:
    """A step that counts its calls, also in its state, and asks for the given times, on its operator."""

    def __init__(self, wakes: Sequence[float | None] = (), fails_at: int = 0) -> None:
        self.calls = 0
        self.wakes = wakes
        self.fails_at = fails_at
        self.context = Context()
        keyed = KeyedStep("study", self.step, self.identity, 60.0)
        self.operator = KeyedSteps(keyed, JobSettings(rejected_in_a_row=3))
        self.operator.open(self.context)

    @property
    def kept(self) -> State:
        """Return the key's state."""
        state: State = self.operator._kept
        return state

    def step(self, head: bytes | None, _seen: bytes | None, _one: Arrival | None, _now: float, _at: float) -> Step:
        self.calls += 1
        if self.calls == self.fails_at:
            raise ZeroDivisionError
        wake_at = self.wakes[self.calls - 1] if self.wakes else None
        return Step((head or b"") + b".", wake_at=wake_at)

    def identity(self, event: Event) -> str:
        return event.event_id

    def rows(self, *values: bytes, batch: int | None = None) -> list[Any]:
        """Return the rows that the operator yields for records with these values, in batches of so many, else in one."""
        records = [Record(INSTANCE_STORED.name, 0, at, 0, KEY.encode(), value) for at, value in enumerate(values)]
        size = batch or len(records)
        found = [pack(*records[first : first + size]) for first in range(0, len(records), size)]
        return [made for one in found for made in self.operator.process_element(one, self.context)]


def test_the_state_of_a_key_is_read_and_written_once_for_a_batch() -> None:
    steps = CountedSteps()
    steps.rows(GOOD, GOOD, b"bad", GOOD)

    assert steps.kept.uses == ["read", "write"]
    assert TimerState.read(steps.kept.content).head == b"..."


# Far in the future: the engine moves a time that has passed to the next millisecond.
@given(st.lists(st.none() | st.integers(10**10, 10**10 + 9), min_size=1, max_size=8), st.integers(1, 8))
def test_batches_of_any_size_leave_the_same_state_and_register_its_timer(wakes: list[int | None], batch: int) -> None:
    one_by_one, batched = CountedSteps(wakes), CountedSteps(wakes)
    one_by_one.rows(*[GOOD] * len(wakes), batch=1)
    batched.rows(*[GOOD] * len(wakes), batch=batch)
    timer_ms = TimerState.read(batched.kept.content).timer_ms

    assert batched.kept.content == one_by_one.kept.content
    assert batched.context.timers == one_by_one.context.timers
    assert timer_ms == NEVER or timer_ms in batched.context.timers


def test_too_many_rejected_records_end_with_a_stop_after_their_dead_letters() -> None:
    steps = CountedSteps()
    *letters, stop = steps.rows(GOOD, b"bad", b"bad", b"bad", b"bad", GOOD)

    assert [letter[0] for letter in letters] == [RECORD_REJECTED.name] * 3
    assert stop == stop_row(
        Stop(
            "too-many-rejected",
            "3 records in a row were rejected: at offsets instance-stored/0 1-3; reasons not-an-event 3",
        )
    )
    assert steps.calls == 1


def test_a_record_at_which_the_step_fails_is_rejected_alone_and_leaves_the_state_as_it_was() -> None:
    steps = CountedSteps(fails_at=2)
    (letter,) = steps.rows(GOOD, GOOD, GOOD)
    event = decode(letter[2])

    assert isinstance(event, RecordRejected)
    assert (event.reason, event.origin_offset, event.origin_value) == ("unforeseen-ZeroDivisionError", 1, GOOD)
    assert TimerState.read(steps.kept.content).head == b".."


@pytest.mark.parametrize("wake_at", [math.nan, math.inf])
def test_a_record_whose_step_asks_for_no_moment_is_rejected(wake_at: float) -> None:
    steps = CountedSteps([None, wake_at, None])
    (letter,) = steps.rows(GOOD, GOOD, GOOD)

    assert letter[0] == RECORD_REJECTED.name
    assert TimerState.read(steps.kept.content).head == b".."


def test_an_event_of_a_newer_schema_stops_the_job_and_is_no_dead_letter() -> None:
    steps = CountedSteps()
    why = f"instance-stored/0 at offset 1: no schema with fingerprint {'0' * 16} in schemas/avro"

    assert steps.rows(GOOD, NEWER, GOOD, NEWER) == [stop_row(Stop("unknown-schema", why))]
    assert steps.calls == 1


def test_state_of_a_newer_release_stops_the_job_at_a_record_and_at_a_timer() -> None:
    by_record, by_timer = CountedSteps(), CountedSteps()
    for steps in (by_record, by_timer):
        steps.operator._kept = State(b"\x09" + bytes(17))
    stop = Stop("unknown-state", "engine state has version 9, but this release reads 1: run the release that wrote it")

    assert by_record.rows(GOOD, GOOD) == [stop_row(stop)]
    assert list(by_timer.operator.on_timer(1, None)) == [stop_row(stop)]
    assert by_timer.rows(GOOD) == []


def test_after_a_stop_no_timer_calls_the_step() -> None:
    steps = CountedSteps()
    steps.rows(NEWER)

    assert list(steps.operator.on_timer(1, None)) == []
    assert steps.calls == 0
