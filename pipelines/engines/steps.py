"""The Flink operator that runs any step, in thread mode.

A key's state is one value. The entries that the step keeps for events are in a map, and expire.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pyflink.common import Row, Time
from pyflink.common.typeinfo import Types
from pyflink.datastream import DataStream, KeyedProcessFunction, KeyedStream, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig, ValueStateDescriptor

from operators.errors import Rejected
from operators.stream.arrival import arrival
from operators.stream.dead_letter import rejected
from operators.stream.rejections import Rejections
from operators.stream.step import IdentityFunction, Record, Step, StepFunction
from pipelines.engines.kafka import OUTGOING, outgoing, record
from pipelines.engines.timers import TimerState, after_step, after_timer, rearmed_if_early

# The entries that RocksDB filters before it asks for the time again; Flink's default.
CLEAN_AFTER = 1000


def keyed_steps(
    stream: KeyedStream, name: str, step: StepFunction, identity: IdentityFunction, remember_s: float
) -> DataStream:
    """Return the outputs of a step over each key's records; entries expire `remember_s` after their last write."""
    return stream.process(KeyedSteps(name, step, identity, remember_s), OUTGOING).name(f"{name} steps").uid(name)


class KeyedSteps(KeyedProcessFunction):  # type: ignore[misc]
    """A step as a Flink operator; a rejected record becomes a dead letter, any other error fails the job."""

    def __init__(self, name: str, step: StepFunction, identity: IdentityFunction, remember_s: float) -> None:
        self._name = name
        self._step = step
        self._identity = identity
        self._remember_s = remember_s

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state, and take the present time as the start of the job."""
        self._kept = runtime_context.get_state(ValueStateDescriptor("kept", Types.PICKLED_BYTE_ARRAY()))
        remembered = MapStateDescriptor("remembered", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        remembered.enable_time_to_live(time_to_live(self._remember_s))
        self._remembered = runtime_context.get_map_state(remembered)
        self._rejections = Rejections()
        self._started = time.time()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Call the step with a record. Raises TooManyRejected."""
        arrived = record(value)
        try:
            outputs = self._processed(arrived, ctx)
        except Rejected as error:
            outputs = [outgoing(rejected(arrived, self._name, error.reason, datetime.now(UTC)))]
            self._rejections.note(rejected=True)
        else:
            self._rejections.note(rejected=False)
        yield from outputs

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Call the step without a record if the time that it asked for has come."""
        now_ms = max(timestamp, int(time.time() * 1000))
        state = after_timer(TimerState.read(self._kept.value()), timestamp)
        if state is None:
            return
        if later := rearmed_if_early(state, now_ms):
            self._keep(*later, ctx)
            return
        yield from self._after(state, self._step(state.head, None, None, now_ms / 1000, self._started), now_ms, ctx)

    def _processed(self, undecoded: Record, ctx: KeyedProcessFunction.Context) -> list[Row]:
        arrived, now = arrival(undecoded), time.time()
        state, identity = TimerState.read(self._kept.value()), self._identity(arrived.event)
        step = self._step(state.head, self._remembered.get(identity), arrived, now, self._started)
        if step.remember is not None:
            self._remembered.put(identity, step.remember)
        return self._after(state, step, int(now * 1000), ctx)

    def _after(self, state: TimerState, step: Step, now_ms: int, ctx: KeyedProcessFunction.Context) -> list[Row]:
        if step.forget:
            self._remembered.clear()
        self._keep(*after_step(state, step, now_ms), ctx)
        return [outgoing(output) for output in step.outputs]

    def _keep(self, state: TimerState, timer_ms: int | None, ctx: KeyedProcessFunction.Context) -> None:
        data = state.write()
        if data is None:
            self._kept.clear()
        else:
            self._kept.update(data)
        if timer_ms is not None:
            ctx.timer_service().register_processing_time_timer(timer_ms)


def time_to_live(seconds: float) -> StateTtlConfig:
    """Return the setting by which an entry expires `seconds` after its last write; RocksDB's compaction removes it."""
    config = StateTtlConfig.new_builder(Time.seconds(int(seconds))).disable_cleanup_in_background().build()
    cleanup = StateTtlConfig.CleanupStrategies
    # PyFlink creates its default filter, and a filter without a period, by a call to Java; in thread mode, inside the
    # JVM, that call would start a second JVM.
    filtering = cleanup.RocksdbCompactFilterCleanupStrategy(CLEAN_AFTER, Time.days(30))
    config.get_cleanup_strategies()._strategies[cleanup.Strategies.ROCKSDB_COMPACTION_FILTER] = filtering  # noqa: SLF001
    return config
