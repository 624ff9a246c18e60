"""The contract of the event log's port, tested on the real broker and on its memory twin."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.kafka.topics import prepare_topics
from operators.connectors.memory.stores import MemoryEventLog, Outage
from operators.errors import Unavailable
from operators.store.ports import EventLog, Position
from schemas.codec import decode
from schemas.events import TransferEnded, event_id
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import TRANSFER_ENDED, record_key
from tests.support.machine.mock_kafka import break_for_good

Test = Callable[[EventLog], Awaitable[None]]
Run = Callable[[Test], None]

BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> BrokerSettings:
    settings = load(BrokerSettings, request.getfixturevalue("stack").env)
    asyncio.run(prepare_topics(settings))
    return settings


@asynccontextmanager
async def in_memory() -> AsyncIterator[EventLog]:
    yield MemoryEventLog()


@pytest.fixture(params=["memory", "kafka"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return a function that runs a test on each log."""
    opened: Any = in_memory
    if request.param == "kafka":
        settings = request.getfixturevalue("broker")
        opened = lambda: KafkaEventLog(settings)  # noqa: E731

    async def inside(test: Test) -> None:
        async with opened() as log:
            await test(log)

    return lambda test: asyncio.run(inside(test))


def ended(study_uid: str, number: int = 0) -> TransferEnded:
    return TransferEnded(
        event_id=event_id(study_uid, str(number)),
        tenant="local",
        occurred_at=BEGAN + timedelta(seconds=number),
        transfer_id=str(number),
        study_uid=study_uid,
        outcome="well",
        instances=number,
        began_at=BEGAN,
    )


def new_study() -> str:
    return f"1.2.{int.from_bytes(os.urandom(8), 'big')}"


def test_a_studys_events_are_in_one_partition_in_order(run: Run) -> None:
    async def test(log: EventLog) -> None:
        study_uid = new_study()
        places = [await log.publish(TRANSFER_ENDED, ended(study_uid, number)) for number in range(5)]
        assert len({place.partition for place in places}) == 1
        assert [place.offset for place in places] == sorted({place.offset for place in places})

    run(test)


def test_studies_spread_over_partitions(run: Run) -> None:
    async def test(log: EventLog) -> None:
        places = await asyncio.gather(*(log.publish(TRANSFER_ENDED, ended(new_study())) for _ in range(200)))
        assert len({place.partition for place in places}) > 2

    run(test)


def test_check_returns_when_the_broker_answers(run: Run) -> None:
    async def test(log: EventLog) -> None:
        await log.check()

    run(test)


def test_a_record_has_the_event_its_studys_key_and_the_brokers_time(broker: BrokerSettings) -> None:
    event = ended(new_study())

    async def publish() -> Position:
        async with KafkaEventLog(broker) as log:
            return await log.publish(TRANSFER_ENDED, event)

    place = asyncio.run(publish())
    message = read(broker, place)

    assert decode(message.value()) == event
    assert message.key() == record_key(event)
    assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME


def read(broker: BrokerSettings, place: Position) -> Any:
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        reader.assign([TopicPartition(TRANSFER_ENDED.name, place.partition, place.offset)])
        message = reader.poll(10)
        assert message is not None
        assert message.error() is None
        return message
    finally:
        reader.close()


def test_a_producer_that_failed_for_good_is_replaced(broker: BrokerSettings) -> None:
    async def test() -> Position:
        async with KafkaEventLog(broker) as log:
            await log.publish(TRANSFER_ENDED, ended(new_study()))
            assert log._deliveries is not None
            in_flight = log._send(TRANSFER_ENDED, ended(new_study()))
            break_for_good(log._deliveries._producer)
            async with asyncio.timeout(broker.produce_s):
                await asyncio.wait([in_flight])
                in_flight.exception()
                return await log.publish(TRANSFER_ENDED, ended(new_study()))

    assert asyncio.run(test()).offset >= 0


def test_creating_existing_topics_again_does_no_harm(broker: BrokerSettings) -> None:
    asyncio.run(prepare_topics(broker))


def test_an_absent_broker_is_unavailable_in_time() -> None:
    async def test() -> None:
        async with (
            KafkaEventLog(BrokerSettings(bootstrap="127.0.0.1:1", produce_s=0.5)) as real,
            asyncio.timeout(10),
        ):
            for log in (real, MemoryEventLog(Outage.REFUSES)):
                with pytest.raises(Unavailable):
                    await log.publish(TRANSFER_ENDED, ended(new_study()))
                with pytest.raises(Unavailable):
                    await log.check()

    asyncio.run(test())
