"""After a stop a shard's batches are neither buffered nor flushed any more; the outputs before the stop are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.step import Flushed, FlushFunction, Record, Stop
from pipelines.engines.batches import TICK, FlushByShard
from pipelines.engines.kafka import outgoing, stop_row
from schemas.codec import UnknownSchema
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import NOON

SETTINGS = JobSettings(batch_records=2, rejected_in_a_row=3)
Row = tuple[str, int, int, int, bytes, bytes]


class State:
    """A shard's state: a value or a list."""

    def __init__(self) -> None:
        self.content: list[bytes] = []

    def value(self) -> bytes | None:
        return self.content[-1] if self.content else None

    def update(self, value: bytes) -> None:
        self.content = [value]

    def get(self) -> list[bytes]:
        return self.content

    def add(self, value: bytes) -> None:
        self.content.append(value)

    def clear(self) -> None:
        self.content = []


class Context:
    """The runtime context of an operator, and the context of each call, with one key."""

    def get_state(self, _: Any) -> State:
        return State()

    get_list_state = get_state

    def get_current_key(self) -> str:
        return "0"


def row(offset: int) -> Row:
    return INSTANCE_STORED.name, 0, offset, 0, b"", b"poison"


def opened(flush: FlushFunction) -> FlushByShard:
    @contextmanager
    def factory() -> Iterator[FlushFunction]:
        yield flush

    function = FlushByShard(factory, SETTINGS)
    function.open(Context())
    return function


def rows_of(function: FlushByShard, *given: Row) -> list[Any]:
    """Return the rows that the operator yields for these."""
    return [made for one in given for made in function.process_element(one, Context())]


def record(offset: int) -> Record:
    return Record(*row(offset))


def test_too_many_rejected_records_end_with_a_stop_after_their_dead_letters() -> None:
    flushed = []

    def flush(_shard: int, _head: bytes | None, records: tuple[Record, ...], _now: float) -> Flushed:
        flushed.append(records)
        return Flushed(b"h", tuple(rejected(one, "catalog", "not-an-event", NOON) for one in records))

    made = rows_of(opened(flush), *(row(offset) for offset in range(8)))
    letters = [outgoing(rejected(record(offset), "catalog", "not-an-event", NOON)) for offset in range(4)]
    stop = Stop(
        "too-many-rejected",
        "3 records in a row were rejected: at offsets instance-stored/0 0-2; reasons not-an-event 3",
    )

    assert made == [*letters, stop_row(stop)]
    assert len(flushed) == 2


@pytest.mark.parametrize(
    "flushed",
    [
        Flushed(b"h", stop=Stop("unknown-schema", "instance-stored/0 at offset 1")),
        UnknownSchema("instance-stored/0 at offset 1"),
    ],
    ids=["a flush's own", "a newer schema"],
)
def test_a_stop_of_a_flush_is_passed_on_once(flushed: Flushed | UnknownSchema) -> None:
    calls = 0

    def flush(_shard: int, _head: bytes | None, _records: tuple[Record, ...], _now: float) -> Flushed:
        nonlocal calls
        calls += 1
        if isinstance(flushed, Flushed):
            return flushed
        raise flushed

    tick = (TICK, 0, 0, 0, b"", b"")
    made = rows_of(opened(flush), row(0), tick, row(1), row(2), tick)

    assert made == [stop_row(Stop("unknown-schema", "instance-stored/0 at offset 1"))]
    assert calls == 1


def test_a_buffer_of_a_newer_release_stops_the_job_unread() -> None:
    function = opened(lambda *_: Flushed(b"h"))
    function._buffer.add(b"\x09" + bytes(40))
    why = "buffered record has version 9, but this release reads 1: run the release that wrote it"

    assert rows_of(function, row(0), row(1), row(2)) == [stop_row(Stop("unknown-state", why))]
