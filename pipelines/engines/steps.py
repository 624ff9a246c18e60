"""The Flink operator that runs any step, in thread mode.

A key's state is one value. The entries that the step keeps for events are in a map, and expire.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyflink.common import Row, Time
from pyflink.common.typeinfo import Types
from pyflink.datastream import DataStream, KeyedProcessFunction, KeyedStream, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig, ValueStateDescriptor

from operators.errors import Rejected
from operators.stream.arrival import arrival
from operators.stream.dead_letter import UNFORESEEN, rejected, unforeseen
from operators.stream.newer_release import NEWER_RELEASE, UnknownState, stop_of
from operators.stream.rejections import Rejections
from operators.stream.step import Arrival, IdentityFunction, Record, Step, StepFunction, Stop
from pipelines.engines.kafka import OUTGOING, outgoing, stop_row
from pipelines.engines.packed import unpack
from pipelines.engines.timers import TimerState, after_step, after_timer, rearmed_if_early
from schemas.settings.jobs import JobSettings

# The entries that RocksDB filters before it asks for the time again; Flink's default.
CLEAN_AFTER = 1000


@dataclass(frozen=True)
class KeyedStep:
    """A step, its name, and the identity under which it keeps an entry for an event.

    An entry expires `remember_s` after its last write.
    """

    name: str
    step: StepFunction
    identity: IdentityFunction
    remember_s: float


def keyed_steps(stream: KeyedStream, keyed: KeyedStep, settings: JobSettings) -> DataStream:
    """Return the outputs of a step over each key's records, and a stop after too many rejected records."""
    return stream.process(KeyedSteps(keyed, settings), OUTGOING).name(f"{keyed.name} steps").uid(keyed.name)


class KeyedSteps(KeyedProcessFunction):  # type: ignore[misc]
    """A step as a Flink operator.

    A rejected record becomes a dead letter, and so does one at which the step fails. Too many of them, or what a newer release wrote, stop the job; any other
    error fails it. After a stop nothing is done any more, since nothing that is done would be kept.
    """

    def __init__(self, keyed: KeyedStep, settings: JobSettings) -> None:
        self._keyed = keyed
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state, and take the present time as the start of the job."""
        self._kept = runtime_context.get_state(ValueStateDescriptor("kept", Types.PICKLED_BYTE_ARRAY()))
        remembered = MapStateDescriptor("remembered", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        remembered.enable_time_to_live(time_to_live(self._keyed.remember_s))
        self._remembered = runtime_context.get_map_state(remembered)
        self._rejections = Rejections(self._settings)
        self._is_stopped = False
        self._started = time.time()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Call the step with each record of a batch; yield its outputs or the record's dead letter, and a stop."""
        if self._is_stopped:
            return
        try:
            yield from self._processed(unpack(bytes(value)), ctx)
        except UnknownState as error:
            yield self._stop(stop_of(error))

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Call the step without a record if the time that it asked for has come."""
        if self._is_stopped:
            return
        try:
            yield from self._woken(timestamp, ctx)
        except UnknownState as error:
            yield self._stop(stop_of(error))

    def _stop(self, stop: Stop) -> Row:
        self._is_stopped = True
        return stop_row(stop)

    def _woken(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> list[Row]:
        now_ms = max(timestamp, int(time.time() * 1000))
        state = after_timer(TimerState.read(self._kept.value()), timestamp)
        if state is None:
            return []
        if later := rearmed_if_early(state, now_ms):
            later_state, later_ms = later
            self._keep(later_state, [later_ms], ctx)
            return []
        step = self._keyed.step(state.head, None, None, now_ms / 1000, self._started)
        after, timer_ms = after_step(state, step, now_ms)
        self._forget(step)
        self._keep(after, [timer_ms], ctx)
        return [outgoing(output) for output in step.outputs]

    def _processed(self, batch: tuple[Record, ...], ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Yield the rows of a batch of one key, whose state is read and written once."""
        state, timers = TimerState.read(self._kept.value()), list[int | None]()
        for undecoded in batch:
            reason, stop = None, None
            try:
                state, timer_ms, rows = self._stepped(state, arrival(undecoded))
                timers.append(timer_ms)
                yield from rows
            except NEWER_RELEASE as error:
                stop = stop_of(error)
            except (Rejected, *UNFORESEEN) as error:
                reason = error.reason if isinstance(error, Rejected) else unforeseen(error)
                yield outgoing(rejected(undecoded, self._keyed.name, reason, datetime.now(UTC)))
            if stop := stop or self._rejections.note(undecoded, reason):
                yield self._stop(stop)
                break
        self._keep(state, timers, ctx)

    def _stepped(self, state: TimerState, arrived: Arrival) -> tuple[TimerState, int | None, list[Row]]:
        """Return the state after the step, the time of a new timer if there is one, and the rows of the step's outputs."""
        now, identity = time.time(), self._keyed.identity(arrived.event)
        step = self._keyed.step(state.head, self._remembered.get(identity), arrived, now, self._started)
        rows, after = [outgoing(output) for output in step.outputs], after_step(state, step, int(now * 1000))
        # Only now: a record at which anything before has failed leaves no trace.
        if step.remember is not None:
            self._remembered.put(identity, step.remember)
        self._forget(step)
        return *after, rows

    def _forget(self, step: Step) -> None:
        """Remove the entries of the key if the step says so."""
        if step.forget:
            self._remembered.clear()

    def _keep(self, state: TimerState, timers: Iterable[int | None], ctx: KeyedProcessFunction.Context) -> None:
        """Keep the state, and register every timer (Unix ms): of several the last alone would fire too late."""
        data = state.write()
        if data is None:
            self._kept.clear()
        else:
            self._kept.update(data)
        for timer_ms in timers:
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
