"""The event log: Kafka, by librdkafka's idempotent producer."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from operators.errors import Unavailable
from operators.store.ports import Position
from schemas.codec import encode
from schemas.events import Event
from schemas.settings.servers import BrokerSettings
from schemas.topics import PARTITIONS, TOPICS, Topic, record_key

CHECK_S = 2.0
# How often reports are asked for while one is awaited: an answer is late by half of this.
POLL_S = 0.002
QUEUE_KBYTES = 64 * 1024
# The longest that a record waits for others to share its batch; more than this only adds to every answer.
LINGER_MS = 1


def producer_config(settings: BrokerSettings) -> dict[str, Any]:
    """Return librdkafka's settings: nothing lost, nothing twice within a session, Flink's partitioner, bounded waits."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        # An answer waits for its batch, which is one record: level 3 takes twice the time for a few per cent.
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
    """An EventLog at a Kafka cluster. Belongs to the event loop that first publishes."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._deliveries: Deliveries | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait, bounded, for what is under way, and let the broker go."""
        if self._deliveries is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._deliveries.idle.wait(), self._settings.produce_s)

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append the event under its key; return once the broker has acknowledged it.

        librdkafka keeps the bound: it reports every record within produce_s.
        """
        return await self._opened().send(topic, event)

    async def check(self) -> None:
        """Return when the broker answers."""
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
    """A producer whose reports reach an event loop, which asks for them while any is awaited.

    No thread: one that waits for reports wakes, takes the interpreter from the loop and wakes the loop again, for
    every record.
    """

    def __init__(self, producer: Producer, loop: asyncio.AbstractEventLoop) -> None:
        self.is_broken = False
        self._producer = producer
        self._loop = loop
        self.idle = asyncio.Event()
        self.idle.set()
        self._awaited = 0

    def send(self, topic: Topic, event: Event) -> "asyncio.Future[Position]":
        """Hand the event to the producer; raises Unavailable when its queue is full."""
        reported: asyncio.Future[Position] = self._loop.create_future()
        try:
            self._producer.produce(
                topic.name,
                key=record_key(event),
                value=encode(event),
                timestamp=int(event.occurred_at.timestamp() * 1000),
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
            # An idempotent producer that met a fatal error can only be replaced.
            self.is_broken = True
        if not reported.done():
            _settle(reported, error, Position(message.partition() or 0, message.offset() or 0))


def _settle(reported: "asyncio.Future[Position]", error: KafkaError | None, position: Position) -> None:
    if error is None:
        reported.set_result(position)
    else:
        reported.set_exception(Unavailable(f"broker-{error.name()}"))


async def create_topics(settings: BrokerSettings, partitions: int = PARTITIONS, replication: int = 1) -> None:
    """Make the topics of the registry that are not there; raises Unavailable when the broker does not answer."""
    client = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 3})
    wanted = [NewTopic(one.name, partitions, replication, config=one.config) for one in TOPICS]
    made = client.create_topics(wanted, request_timeout=settings.produce_s)
    for future in made.values():
        await asyncio.to_thread(_ensure_made, future)


def _ensure_made(future: Any) -> None:
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise Unavailable("broker") from error
