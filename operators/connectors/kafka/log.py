"""The event log in Kafka, written by librdkafka's idempotent producer."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from operators.errors import Unavailable
from operators.store.ports import Position
from schemas.codec import encode
from schemas.events import Event
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS, Topic, record_key

CHECK_S = 2.0
# The interval of polls while a delivery report is awaited; on average it delays an answer by half of this.
POLL_S = 0.002
QUEUE_KBYTES = 64 * 1024
# The longest wait of a record for others in its batch; a longer wait would only delay every answer.
LINGER_MS = 1


def producer_config(settings: BrokerSettings) -> dict[str, Any]:
    """Return librdkafka's settings.

    They ensure that no record is lost or written twice within a session, that waits are bounded, and that each key goes
    to the partition that Flink's sink would choose.
    """
    return {
        "bootstrap.servers": settings.bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        # Answers wait while their batch is compressed, mostly one record: level 3 takes twice as long to save little.
        "compression.level": 1,
        "partitioner": "murmur2_random",
        "linger.ms": LINGER_MS,
        "delivery.timeout.ms": int(settings.produce_s * 1000),
        "request.timeout.ms": int(settings.produce_s * 500),
        "socket.connection.setup.timeout.ms": 2000,
        "socket.nagle.disable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "message.max.bytes": max(topic.max_message_bytes for topic in TOPICS),
        "log_level": 3,
    }


class KafkaEventLog:
    """An EventLog in a Kafka cluster; it belongs to the event loop that first publishes."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._deliveries: Deliveries | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the delivery reports that are outstanding, for at most `produce_s`."""
        if self._deliveries is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._deliveries.idle.wait(), self._settings.produce_s)

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append an event under its key; return its position once the broker has acknowledged it.

        librdkafka reports every record within `produce_s`. Raises Unavailable when the report is an error.
        """
        return await self._opened().send(topic, event)

    async def check(self) -> None:
        """Return once the broker has answered; raises Unavailable when it does not within CHECK_S."""
        client = AdminClient({"bootstrap.servers": self._settings.bootstrap, "log_level": 3})
        try:
            await asyncio.to_thread(client.list_topics, timeout=CHECK_S)
        except KafkaException as error:
            raise Unavailable("broker") from error

    def _opened(self) -> "Deliveries":
        if self._deliveries is None or self._deliveries.is_broken:
            loop = asyncio.get_running_loop()
            self._deliveries = Deliveries(Producer(producer_config(self._settings)), loop)
        return self._deliveries


class Deliveries:
    """A producer and its delivery reports, which an event loop polls for while any report is awaited.

    No thread waits for reports, because for every record it would take the interpreter from the loop and then wake the
    loop. After a fatal error `is_broken` is True and the producer must be replaced. `idle` is set while no report is
    awaited.
    """

    def __init__(self, producer: Producer, loop: asyncio.AbstractEventLoop) -> None:
        self.is_broken = False
        self._producer = producer
        self._loop = loop
        self.idle = asyncio.Event()
        self.idle.set()
        self._awaited = 0

    def send(self, topic: Topic, event: Event) -> "asyncio.Future[Position]":
        """Queue an event; the future is done when its report arrives. Raises Unavailable if the queue is full."""
        reported: asyncio.Future[Position] = self._loop.create_future()
        try:
            self._producer.produce(
                topic.name,
                key=record_key(event),
                value=encode(event),
                on_delivery=partial(self._report, reported),
            )
        except (BufferError, KafkaException) as error:
            raise Unavailable("broker") from error
        self._awaited += 1
        if self._awaited == 1:
            self.idle.clear()
            self._loop.call_later(POLL_S, self._poll)
        return reported

    def _poll(self) -> None:
        self._producer.poll(0)
        if self._awaited:
            self._loop.call_later(POLL_S, self._poll)
        else:
            self.idle.set()

    def _report(self, reported: "asyncio.Future[Position]", error: KafkaError | None, message: Message) -> None:
        self._awaited -= 1
        if error is not None and error.fatal():
            # An idempotent producer sends nothing more after a fatal error.
            self.is_broken = True
        if not reported.done():
            _settle(reported, error, Position(message.partition() or 0, message.offset() or 0))


def _settle(reported: "asyncio.Future[Position]", error: KafkaError | None, position: Position) -> None:
    if error is None:
        reported.set_result(position)
    else:
        reported.set_exception(Unavailable(f"broker-{error.name()}"))
