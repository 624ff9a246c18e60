"""The shell around pure steps: one Flink operator for all of them, in thread mode.

A key's head lies in one value, what is remembered of its events in a map whose entries expire.
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
from operators.stream.step import Arrival, IdentityFunction, Record, Step, StepFunction
from pipelines.engines.kafka import OUTGOING, outgoing, record
from pipelines.engines.timers import Kept, fired, stepped, too_early

# Entries that RocksDB looks at before it asks for the time again; Flink's own default.
CLEAN_AFTER = 1000


def keyed_steps(
    stream: KeyedStream, name: str, step: StepFunction, identity: IdentityFunction, remember_s: float
) -> DataStream:
    """Run a step over each key's records; `remember_s` is how long an entry is kept after it was last written."""
    return stream.process(KeyedSteps(name, step, identity, remember_s), OUTGOING).name(f"{name} steps").uid(name)


class KeyedSteps(KeyedProcessFunction):  # type: ignore[misc]
    """A step as a Flink operator. What can never succeed is sent to record-rejected; any other error stops the job."""

    def __init__(self, name: str, step: StepFunction, identity: IdentityFunction, remember_s: float) -> None:
        self._name = name
        self._step = step
        self._identity = identity
        self._remember_s = remember_s

    def open(self, runtime_context: RuntimeContext) -> None:
        """Take hold of the state; from now on the job counts as started."""
        self._kept = runtime_context.get_state(ValueStateDescriptor("kept", Types.PICKLED_BYTE_ARRAY()))
        remembered = MapStateDescriptor("remembered", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        remembered.enable_time_to_live(expiring(self._remember_s))
        self._remembered = runtime_context.get_map_state(remembered)
        self._rejections = Rejections()
        self._started = time.time()

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Let the step see a record."""
        came = record(value)
        try:
            outputs = self._arrived(came, ctx)
        except Rejected as error:
            outputs = [outgoing(rejected(came, self._name, error.reason, datetime.now(UTC)))]
            self._rejections.note(rejected=True)
        else:
            self._rejections.note(rejected=False)
        yield from outputs

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Let the step see that its moment has come."""
        now_ms = max(timestamp, int(time.time() * 1000))
        kept = fired(Kept.read(self._kept.value()), timestamp)
        if kept is None:
            return
        if later := too_early(kept, now_ms):
            self._keep(*later, ctx)
            return
        yield from self._after(kept, self._step(kept.head, None, None, now_ms / 1000, self._started), now_ms, ctx)

    def _arrived(self, came: Record, ctx: KeyedProcessFunction.Context) -> list[Row]:
        arrived: Arrival = arrival(came)
        kept, known_as, now = Kept.read(self._kept.value()), self._identity(arrived.event), time.time()
        step = self._step(kept.head, self._remembered.get(known_as), arrived, now, self._started)
        if step.remember is not None:
            self._remembered.put(known_as, step.remember)
        return self._after(kept, step, int(now * 1000), ctx)

    def _after(self, kept: Kept, step: Step, now_ms: int, ctx: KeyedProcessFunction.Context) -> list[Row]:
        if step.forget:
            self._remembered.clear()
        self._keep(*stepped(kept, step, now_ms), ctx)
        return [outgoing(output) for output in step.outputs]

    def _keep(self, kept: Kept, timer_ms: int | None, ctx: KeyedProcessFunction.Context) -> None:
        data = kept.write()
        if data is None:
            self._kept.clear()
        else:
            self._kept.update(data)
        if timer_ms is not None:
            ctx.timer_service().register_processing_time_timer(timer_ms)


def expiring(seconds: float) -> StateTtlConfig:
    """Have entries vanish so long after they were last written, and RocksDB's compaction remove them."""
    config = StateTtlConfig.new_builder(Time.seconds(int(seconds))).disable_cleanup_in_background().build()
    cleanup = StateTtlConfig.CleanupStrategies
    # PyFlink's own filter, or one without a period, is made by Java; asked for within the JVM that starts a second one.
    filtering = cleanup.RocksdbCompactFilterCleanupStrategy(CLEAN_AFTER, Time.days(30))
    config.get_cleanup_strategies()._strategies[cleanup.Strategies.ROCKSDB_COMPACTION_FILTER] = filtering  # noqa: SLF001
    return config
