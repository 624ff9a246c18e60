"""The Flink operator that flushes each shard's batches as they come."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pyflink.common import Row
from pyflink.common.typeinfo import Types
from pyflink.datastream import DataStream, KeyedProcessFunction, KeyedStream, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from operators.stream.newer_release import NEWER_RELEASE, stop_of
from operators.stream.rejections import Rejections, note_batch
from operators.stream.step import FlushFunction, Record, Stop
from pipelines.engines.kafka import OUTGOING, outgoing, stop_row
from pipelines.engines.packed import unpack
from schemas.settings.jobs import JobSettings

FlushFactory = Callable[[], AbstractContextManager[FlushFunction]]


def flush_by_shard(stream: KeyedStream, name: str, factory: FlushFactory, settings: JobSettings) -> DataStream:
    """Return the rows of a flush of each batch.

    The factory is called once for each parallel operator; the context that it returns is closed with it.
    """
    return stream.process(FlushByShard(factory, settings), OUTGOING).name(f"{name} batches").uid(name)


class FlushByShard(KeyedProcessFunction):  # type: ignore[misc]
    """A flush as a Flink operator. It holds no record: what a checkpoint's offsets cover was flushed before it.

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
        self._rejections = Rejections(self._settings)
        self._is_stopped = False
        self._flush = self._opened.enter_context(self._factory())

    def close(self) -> None:
        """Close the flush."""
        self._opened.close()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Flush a batch; yield its outputs, and a stop."""
        if self._is_stopped:
            return
        try:
            yield from self._flushed(int(ctx.get_current_key()), unpack(bytes(value)))
        except NEWER_RELEASE as error:
            yield self._stop(stop_of(error))

    def _flushed(self, shard: int, records: tuple[Record, ...]) -> list[Row]:
        flushed = self._flush(shard, self._head.value(), records, time.time())
        self._head.update(flushed.head)
        rows = [outgoing(output) for output in flushed.outputs]
        stop = flushed.stop or note_batch(self._rejections, records, flushed.outputs)
        return [*rows, self._stop(stop)] if stop else rows

    def _stop(self, stop: Stop) -> Row:
        self._is_stopped = True
        return stop_row(stop)
