"""After a stop a step is not called any more; the outputs before the stop are kept."""

from typing import Any

from operators.stream.step import Arrival, Step, Stop
from pipelines.engines.kafka import stop_row
from pipelines.engines.steps import KeyedStep, KeyedSteps
from schemas.codec import HEADER_BYTES, MARKER, encode
from schemas.events import Event
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED, RECORD_REJECTED
from tests.support.worlds.studies import KEY, instance

GOOD = encode(instance(1))
NEWER = MARKER + bytes(8) + GOOD[HEADER_BYTES:]
Row = tuple[str, int, int, int, bytes, bytes]


class State:
    """A key's state, which keeps nothing but what it is made with."""

    def __init__(self, content: bytes | None = None) -> None:
        self._content = content

    def value(self) -> bytes | None:
        return self._content

    def get(self, _: str) -> None:
        return None

    def clear(self) -> None:
        pass


class Context:
    """The runtime context of an operator."""

    def get_state(self, _: Any) -> State:
        return State()

    get_map_state = get_state


class CountedSteps:
    """A step that counts its calls and does nothing, on its operator."""

    def __init__(self) -> None:
        self.calls = 0
        keyed = KeyedStep("study", self.step, self.identity, 60.0)
        self.operator = KeyedSteps(keyed, JobSettings(rejected_in_a_row=3))
        self.operator.open(Context())

    def step(self, _head: bytes | None, _seen: bytes | None, _one: Arrival | None, _now: float, _at: float) -> Step:
        self.calls += 1
        return Step(None)

    def identity(self, event: Event) -> str:
        return event.event_id

    def rows(self, *values: bytes) -> list[Any]:
        """Return the rows that the operator yields for records with these values."""
        rows = ((INSTANCE_STORED.name, 0, offset, 0, KEY.encode(), value) for offset, value in enumerate(values))
        return [made for row in rows for made in self.operator.process_element(row, None)]


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
