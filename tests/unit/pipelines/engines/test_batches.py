"""After a stop a shard's batches are not flushed any more; the outputs before the stop are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from operators.stream.dead_letter import rejected
from operators.stream.step import Flushed, FlushFunction, Record, Stop
from pipelines.engines.batches import FlushByShard
from pipelines.engines.kafka import outgoing, stop_row
from schemas.codec import UnknownSchema
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import NOON
from tests.support.worlds.packed import pack

SETTINGS = JobSettings(rejected_in_a_row=3)


class State:
    """A shard's state."""

    content: bytes | None = None

    def value(self) -> bytes | None:
        return self.content

    def update(self, value: bytes) -> None:
        self.content = value


class Context:
    """The runtime context of an operator, and the context of each call, with one key."""

    def get_state(self, _: Any) -> State:
        return State()

    def get_current_key(self) -> str:
        return "0"


def record(offset: int) -> Record:
    return Record(INSTANCE_STORED.name, 0, offset, 0, b"", b"poison")


def batch(*offsets: int) -> bytes:
    return pack(*map(record, offsets))


def opened(flush: FlushFunction) -> FlushByShard:
    @contextmanager
    def factory() -> Iterator[FlushFunction]:
        yield flush

    function = FlushByShard(factory, SETTINGS)
    function.open(Context())
    return function


def rows_of(function: FlushByShard, *batches: bytes) -> list[Any]:
    """Return the rows that the operator yields for these."""
    return [made for one in batches for made in function.process_element(one, Context())]


def test_each_batch_is_flushed_with_the_head_of_the_flush_before() -> None:
    flushed = []

    def flush(shard: int, head: bytes | None, records: tuple[Record, ...], _now: float) -> Flushed:
        flushed.append((shard, head, records))
        return Flushed((head or b"") + b"h")

    assert rows_of(opened(flush), batch(0, 1), batch(2)) == []
    assert flushed == [(0, None, (record(0), record(1))), (0, b"h", (record(2),))]


def test_too_many_rejected_records_end_with_a_stop_after_their_dead_letters() -> None:
    flushed = []

    def flush(_shard: int, _head: bytes | None, records: tuple[Record, ...], _now: float) -> Flushed:
        flushed.append(records)
        return Flushed(b"h", tuple(rejected(one, "catalog", "not-an-event", NOON) for one in records))

    made = rows_of(opened(flush), batch(0, 1), batch(2, 3), batch(4, 5))
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

    made = rows_of(opened(flush), batch(0), batch(1, 2))

    assert made == [stop_row(Stop("unknown-schema", "instance-stored/0 at offset 1"))]
    assert calls == 1
