"""A producer that fails for good is replaced, and no record waits for its report for ever."""

import asyncio
import dataclasses
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from operators.connectors.kafka.clients import ClientLog
from operators.connectors.kafka.log import Deliveries, KafkaEventLog
from operators.errors import Unavailable
from schemas.events import TransferEnded, event_id
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS, TRANSFER_ENDED
from tests.support.machine.mock_kafka import MockKafka, break_for_good
from tests.support.worlds.running_gateway import wait_for

ROOT = Path(__file__).parents[5]
BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PRODUCE_S = 3.0
SLOW_MS = 1000
BOUND_S = 20.0
TOO_LARGE = 1 + max(topic.max_message_bytes for topic in TOPICS)

World = Callable[[MockKafka, KafkaEventLog], Awaitable[None]]


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[MockKafka, KafkaEventLog]]:
    """Yield a broker and a log whose producer has had one record acknowledged."""
    broker = MockKafka()
    log = KafkaEventLog(BrokerSettings(bootstrap=broker.bootstrap, produce_s=PRODUCE_S))
    async with log, asyncio.timeout(BOUND_S):
        await log.publish(TRANSFER_ENDED, ended(0))
        yield broker, log


def run(test: World) -> None:
    async def inside() -> None:
        async with opened() as (broker, log):
            await test(broker, log)

    asyncio.run(inside())


def ended(number: int) -> TransferEnded:
    return TransferEnded(
        event_id=event_id("log", str(number)),
        tenant="local",
        occurred_at=BEGAN,
        transfer_id=str(number),
        study_uid="1.2.3",
        outcome="well",
        instances=number,
        began_at=BEGAN,
    )


def producer_of(log: KafkaEventLog) -> Any:
    assert log._deliveries is not None
    return log._deliveries._producer


async def in_flight(broker: MockKafka, log: KafkaEventLog, number: int) -> "asyncio.Task[Any]":
    """Publish an event that the broker has received and answers after SLOW_MS."""
    broker.answer_after(SLOW_MS)
    publishing = asyncio.create_task(log.publish(TRANSFER_ENDED, ended(number)))
    await asyncio.sleep(0)
    producer_of(log).flush(0.2)
    return publishing


def test_a_fatal_error_with_a_record_in_flight_neither_holds_it_nor_stops_the_next() -> None:
    async def test(broker: MockKafka, log: KafkaEventLog) -> None:
        publishing = await in_flight(broker, log, 1)
        break_for_good(producer_of(log))
        broker.answer_after(0)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        position = await log.publish(TRANSFER_ENDED, ended(2))
        outcomes = await asyncio.gather(publishing, return_exceptions=True)

        assert position.offset >= 1
        assert loop.time() - began_at < PRODUCE_S
        assert not isinstance(outcomes[0], BaseException) or isinstance(outcomes[0], Unavailable)

    run(test)


def counted() -> float:
    return REGISTRY.get_sample_value("fluoro_producer_broken_total", {"error": "INVALID_PRODUCER_EPOCH"}) or 0.0


def test_a_fatal_error_while_nothing_is_in_flight_costs_no_event() -> None:
    async def test(_: MockKafka, log: KafkaEventLog) -> None:
        producer, before = producer_of(log), counted()
        break_for_good(producer)

        assert (await log.publish(TRANSFER_ENDED, ended(1))).offset == 1
        assert producer_of(log) is not producer
        assert counted() == before + 1

    run(test)


def test_a_fatal_error_is_logged_and_counted_once() -> None:
    async def test(broker: MockKafka, log: KafkaEventLog) -> None:
        before = counted()
        publishing = await in_flight(broker, log, 1)
        break_for_good(producer_of(log))
        with capture_logs() as logs:
            await asyncio.gather(publishing, return_exceptions=True)

        assert [entry["error"] for entry in logs if entry["event"] == "producer_broken"] == ["INVALID_PRODUCER_EPOCH"]
        assert counted() == before + 1

    run(test)


def test_closing_waits_for_the_records_of_a_producer_that_was_replaced() -> None:
    async def test(broker: MockKafka, log: KafkaEventLog) -> None:
        publishing = await in_flight(broker, log, 1)
        before = log._opened()
        break_for_good(producer_of(log))
        with pytest.raises(Unavailable):
            before.send(TRANSFER_ENDED, ended(2))
        after = log._opened()
        was_open = not publishing.done()
        await log.close()
        await asyncio.sleep(0)

        assert after is not before
        assert was_open
        assert publishing.done()

    run(test)


def test_a_producer_that_was_replaced_is_freed_once_it_is_empty() -> None:
    async def test(broker: MockKafka, log: KafkaEventLog) -> None:
        publishing = await in_flight(broker, log, 1)
        before = weakref.ref(log._opened())
        break_for_good(producer_of(log))
        broker.answer_after(0)
        await log.publish(TRANSFER_ENDED, ended(2))
        await asyncio.gather(publishing, return_exceptions=True)
        while before() is not None:  # noqa: ASYNC110 - there is no event of an object that is freed
            await asyncio.sleep(0.001)

    run(test)


def test_an_error_of_one_report_stops_no_other() -> None:
    async def test(_: MockKafka, log: KafkaEventLog) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError

        producer_of(log).produce(TRANSFER_ENDED.name, b"", on_delivery=fail)

        assert (await log.publish(TRANSFER_ENDED, ended(1))).offset >= 0
        assert (await log.publish(TRANSFER_ENDED, ended(2))).offset >= 0

    run(test)


def threads_of_clients() -> set[str]:
    """Return the threads of this process that belong to librdkafka's clients; one that ends meanwhile may be missing."""
    threads = set()
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):
            if path.read_text().startswith("rdk:"):
                threads.add(path.parent.name)
    return threads


def test_a_log_that_is_closed_leaves_no_client_alive_with_records_that_nobody_takes() -> None:
    # In a process of its own: clients of earlier tests begin threads at any time.
    script = f"import {__name__} as tests; tests.close_with_a_record()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=3 * BOUND_S, check=False
    )

    assert done.returncode == 0, done.stderr


def close_with_a_record() -> None:
    """Close a log that has a record which nobody takes, and wait until no client's thread is left."""

    async def closed() -> None:
        absent = BrokerSettings(bootstrap="127.0.0.1:1", produce_s=0.1)
        async with asyncio.timeout(BOUND_S), KafkaEventLog(absent) as log:
            with pytest.raises(Unavailable):
                await log.publish(TRANSFER_ENDED, ended(1))
            assert threads_of_clients()

    asyncio.run(closed())
    # The kernel lists a thread for a moment after it was joined.
    wait_for(lambda: not threads_of_clients(), BOUND_S)


def test_checks_use_the_one_client_of_a_log() -> None:
    async def test(_: MockKafka, log: KafkaEventLog) -> None:
        before, producer = threads_of_clients(), producer_of(log)
        await asyncio.gather(*(log.check() for _ in range(5)))

        wait_for(lambda: threads_of_clients() <= before, BOUND_S)
        assert producer_of(log) is producer

    run(test)


def test_a_producer_without_records_says_in_the_log_why_it_cannot_connect() -> None:
    async def test() -> None:
        async with asyncio.timeout(BOUND_S), KafkaEventLog(BrokerSettings(bootstrap="127.0.0.1:1")) as log:
            with pytest.raises(Unavailable):
                await log.check()
            while not logs:  # noqa: ASYNC110 - there is no event of a log line
                await asyncio.sleep(0.01)

    with capture_logs() as logs:
        asyncio.run(test())

    assert {line["event"] for line in logs} == {"broker_client_error"}


def test_a_record_that_an_absent_broker_does_not_take_in_time_says_why() -> None:
    async def test() -> str:
        async with KafkaEventLog(BrokerSettings(bootstrap="127.0.0.1:1", produce_s=0.5)) as log:
            with pytest.raises(Unavailable) as caught:
                await log.publish(TRANSFER_ENDED, ended(1))
            return caught.value.why

    assert asyncio.run(test()).endswith("Connection refused")


class SilentProducer:
    """A producer that never reports what became of a record."""

    def produce(self, *_: object, **__: object) -> None:
        """Take a record."""

    def poll(self, _: float) -> None:
        """Report nothing."""

    def purge(self) -> None:
        """Drop nothing."""


def test_a_record_without_a_report_is_unavailable_after_produce_s() -> None:
    async def test() -> None:
        deliveries = Deliveries(SilentProducer(), asyncio.get_running_loop(), 0.05, ClientLog("broker"))
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(Unavailable) as caught:
                await deliveries.send(TRANSFER_ENDED, ended(1))
            await deliveries.idle.wait()
        deliveries.close()
        assert caught.value.why == "broker: no answer in time"

    asyncio.run(test())


def test_a_record_that_the_client_refuses_at_once_says_of_which_topic() -> None:
    async def test(_: MockKafka, log: KafkaEventLog) -> None:
        too_large = dataclasses.replace(ended(1), transfer_id="1" * TOO_LARGE)
        with pytest.raises(Unavailable, match=r"topic transfer-ended: .*Message size too large") as caught:
            await log.publish(TRANSFER_ENDED, too_large)

        assert caught.value.why.startswith("127.0.0.1:")

    run(test)
