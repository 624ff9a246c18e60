"""The Flink operator that collects each shard's records in its state and flushes them in batches, in process mode."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pyflink.common import Row
from pyflink.common.typeinfo import Types
from pyflink.datastream import DataStream, KeyedProcessFunction, KeyedStream, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor

from operators.stream.newer_release import NEWER_RELEASE, stop_of
from operators.stream.rejections import Rejections, note_batch
from operators.stream.step import FlushFunction, Stop
from pipelines.engines.kafka import OUTGOING, outgoing, record, stop_row, with_ticks
from pipelines.engines.packed import pack, unpack
from schemas.settings.jobs import JobSettings

BATCH_BYTES = 8 * 2**20
TICK = ""

FlushFactory = Callable[[], AbstractContextManager[FlushFunction]]


def flush_by_shard(stream: KeyedStream, name: str, factory: FlushFactory, settings: JobSettings) -> DataStream:
    """Return the rows of a flush of each shard's records: at `batch_records` or 8 MiB, or `batch_s` after the first.

    The factory is called once in each worker; the context that it returns is closed with the worker.
    """
    function = FlushByShard(factory, settings)
    return with_ticks(stream, name, settings.batch_s).process(function, OUTGOING).name(f"{name} batches").uid(name)


class FlushByShard(KeyedProcessFunction):  # type: ignore[misc]
    """A flush as a Flink operator; its buffer is state, so after a failure the same records are flushed again.

    Too many rejected records, what a newer release wrote, or a stop of the flush stop the job. After a stop nothing is
    done any more, since nothing that is done would be kept.
    """

    def __init__(self, factory: FlushFactory, settings: JobSettings) -> None:
        self._factory = factory
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state and the flush."""
        self._opened = ExitStack()
        self._head = runtime_context.get_state(ValueStateDescriptor("head", Types.PICKLED_BYTE_ARRAY()))
        self._buffer = runtime_context.get_list_state(ListStateDescriptor("buffer", Types.PICKLED_BYTE_ARRAY()))
        self._sizes: dict[str, tuple[int, int]] = {}
        self._rejections = Rejections(self._settings)
        self._is_stopped = False
        self._flush = self._opened.enter_context(self._factory())

    def close(self) -> None:
        """Close the flush."""
        self._opened.close()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Buffer a record, and flush at a full batch or a tick; the tick after a full batch comes early."""
        if self._is_stopped:
            return
        shard, arrived = ctx.get_current_key(), record(value)
        is_tick = arrived.topic == TICK
        count, size = self._size(shard) if is_tick else self._buffered(shard, pack(arrived))
        is_full = count >= self._settings.batch_records or size >= BATCH_BYTES
        if not (is_full or (count and is_tick)):
            return
        try:
            yield from self._flush_buffer(shard)
        except NEWER_RELEASE as error:
            yield self._stop(stop_of(error))

    def _buffered(self, shard: str, packed: bytes) -> tuple[int, int]:
        """Add a record to a shard's buffer; return the count and the bytes of the buffered records."""
        count, size = self._size(shard)
        self._buffer.add(packed)
        self._sizes[shard] = (count + 1, size + len(packed))
        return self._sizes[shard]

    def _size(self, shard: str) -> tuple[int, int]:
        """Return the count and the bytes of a shard's buffered records; after a restart, count the state once."""
        if shard not in self._sizes:
            sizes = [len(packed) for packed in self._buffer.get()]
            self._sizes[shard] = (len(sizes), sum(sizes))
        return self._sizes[shard]

    def _flush_buffer(self, shard: str) -> list[Row]:
        records = tuple(unpack(packed) for packed in self._buffer.get())
        flushed = self._flush(int(shard), self._head.value(), records, time.time())
        self._head.update(flushed.head)
        self._buffer.clear()
        self._sizes[shard] = (0, 0)
        rows = [outgoing(output) for output in flushed.outputs]
        stop = flushed.stop or note_batch(self._rejections, records, flushed.outputs)
        return [*rows, self._stop(stop)] if stop else rows

    def _stop(self, stop: Stop) -> Row:
        self._is_stopped = True
        return stop_row(stop)
