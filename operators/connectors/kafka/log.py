"""The event log in Kafka, written by librdkafka's idempotent producer."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Self
from weakref import WeakSet

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.connectors.kafka.clients import ClientLog, client_config
from operators.errors import Unavailable
from operators.store.ports import Position
from schemas.codec import encode
from schemas.events import Event
from schemas.settings.servers import BrokerSettings
from schemas.telemetry import PRODUCER_BROKEN
from schemas.topics import TOPICS, Topic, record_key

CHECK_S = 2.0
# The interval of polls while a delivery report is awaited; on average it delays an answer by half of this.
POLL_S = 0.002
# The interval of polls while none is awaited: they log what the client has to say, and free records that were given up.
IDLE_POLL_S = 1.0
QUEUE_KBYTES = 64 * 1024

log = structlog.get_logger()


def producer_config(settings: BrokerSettings) -> dict[str, Any]:
    """Return librdkafka's settings.

    They ensure that no record is lost or written twice within a session, that waits are bounded, and that each key goes
    to the partition that Flink's sink would choose.
    """
    return client_config(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        # A batch is mostly one record of 1 KB: compressing it costs the gateway, the broker and each job more than it saves.
        "compression.type": "none",
        "partitioner": "murmur2_random",
        # Each sender waits for its record, so a record that waits for others only delays an answer. Those that come while
        # the client's thread is busy go together all the same.
        "linger.ms": 0,
        "delivery.timeout.ms": int(settings.produce_s * 1000),
        "request.timeout.ms": int(settings.produce_s * 500),
        "socket.connection.setup.timeout.ms": 2000,
        "socket.nagle.disable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "message.max.bytes": max(topic.max_message_bytes for topic in TOPICS),
    }


class KafkaEventLog:
    """An EventLog in a Kafka cluster; it belongs to the event loop that first publishes.

    A producer that fails for good is replaced, and no event is refused for it unless it was in that producer's hands.
    """

    def __init__(self, settings: BrokerSettings, linger_ms: int = 0) -> None:
        self._settings = settings
        # How long a record waits for others, to share a request with them: for those who publish many at a time.
        self._linger_ms = linger_ms
        self._deliveries: Deliveries | None = None
        # Every producer that may still report: the loop's next poll of it keeps it alive.
        self._reporting: WeakSet[Deliveries] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the reports that are outstanding, also at producers that were replaced; for at most `produce_s`.

        Then every producer gives up the records that it still has, and is freed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.produce_s):
                for deliveries in tuple(self._reporting):
                    await deliveries.idle.wait()
        for deliveries in tuple(self._reporting):
            deliveries.close()
        self._deliveries = None

    async def publish(self, topic: Topic, event: Event) -> Position:
        """Append an event under its key; return its position once the broker has acknowledged it.

        Raises Unavailable when the report is an error, or does not come within `produce_s`.
        """
        return await self._send(topic, event)

    async def check(self) -> None:
        """Return once the broker has answered; raises Unavailable when it does not within CHECK_S."""
        await self._opened().check()

    def _send(self, topic: Topic, event: Event) -> "asyncio.Future[Position]":
        """Queue an event, at a new producer if the present one turns out to be broken."""
        deliveries = self._opened()
        try:
            return deliveries.send(topic, event)
        except Unavailable:
            if not deliveries.is_broken:
                raise
        return self._opened().send(topic, event)

    def _opened(self) -> "Deliveries":
        if self._deliveries is None or self._deliveries.is_broken:
            config = producer_config(self._settings) | {"linger.ms": self._linger_ms}
            loop, produce_s = asyncio.get_running_loop(), self._settings.produce_s
            self._deliveries = Deliveries(Producer(config), loop, produce_s, config["logger"])
            self._reporting.add(self._deliveries)
        return self._deliveries


class Deliveries:
    """A producer and its delivery reports, which an event loop polls for while any report is awaited.

    No thread waits for reports, because for every record it would take the interpreter from the loop and then wake the
    loop. After a fatal error `is_broken` is True and the producer must be replaced; it is still polled until it is
    empty. `idle` is set while no report is awaited. It must be closed: the loop's next poll refers to it.
    """

    def __init__(self, producer: Producer, loop: asyncio.AbstractEventLoop, produce_s: float, said: ClientLog) -> None:
        self.is_broken = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._producer = producer
        self._loop = loop
        self._produce_s = produce_s
        self._said = said
        # When each awaited report is overdue, by the loop's clock: the oldest record first.
        self._awaited: dict[asyncio.Future[Position], float] = {}
        # The next poll; None while none is needed.
        self._poller: asyncio.TimerHandle | None = None
        self._poll_again(IDLE_POLL_S)

    async def check(self) -> None:
        """Return once the broker has answered; raises Unavailable when it does not within CHECK_S."""
        try:
            await asyncio.to_thread(self._producer.list_topics, timeout=CHECK_S)
        except KafkaException as error:
            self._take_reports()
            raise Unavailable("broker", self._said.why(error.args[0])) from error

    def close(self) -> None:
        """Drop all records that are not reported yet, and poll no more."""
        self._producer.purge()
        self._take_reports()
        if self._poller is not None:
            self._poller.cancel()

    def send(self, topic: Topic, event: Event) -> "asyncio.Future[Position]":
        """Queue an event; the future is done when its report arrives, at the latest after `produce_s`.

        Raises Unavailable if the queue is full or the producer is broken.
        """
        reported: asyncio.Future[Position] = self._loop.create_future()
        if refused := self._produce(topic, event, reported):
            # First the poll, which knows the cause of a fatal error.
            self._take_reports()
            self._note(refused)
            about = f"topic {topic.name}"
            if isinstance(refused, KafkaException):
                raise Unavailable("broker", self._said.why(refused.args[0], about)) from refused
            raise Unavailable("broker", f"{about}: {refused}") from refused
        if self.idle.is_set():
            self.idle.clear()
            self._poll_again(POLL_S)
        self._awaited[reported] = self._loop.time() + self._produce_s
        return reported

    def _produce(
        self, topic: Topic, event: Event, reported: "asyncio.Future[Position]"
    ) -> KafkaException | BufferError | None:
        """Queue an event; return why the producer refused it, None if it did not.

        The error is returned, without its traceback, because a poll that raises while another error is handled keeps the
        frames of both for ever, and with them this producer.
        """
        on_delivery = partial(self._report, reported)
        try:
            self._producer.produce(topic.name, encode(event), record_key(event), on_delivery=on_delivery)
        except (BufferError, KafkaException) as error:
            return error.with_traceback(None)
        return None

    def _poll(self) -> None:
        """Poll again and again. Nothing that goes wrong here may end it: records would wait for ever."""
        self._poller = None
        self._take_reports()
        self._give_up_overdue()
        if not self._awaited:
            self.idle.set()
        # A producer that is dropped before it is empty would never be freed: its records refer to it.
        if self._awaited or (self.is_broken and len(self._producer)):
            self._poll_again(POLL_S)
        elif not self.is_broken:
            self._poll_again(IDLE_POLL_S)

    def _poll_again(self, after_s: float) -> None:
        if self._poller is not None:
            self._poller.cancel()
        self._poller = self._loop.call_later(after_s, self._poll)

    def _take_reports(self) -> None:
        try:
            self._producer.poll(0)
        except Exception as error:  # noqa: BLE001 - a fatal error, or what a report raised: either way a new producer
            self._note(error)

    def _report(self, reported: "asyncio.Future[Position]", error: KafkaError | None, message: Message) -> None:
        self._awaited.pop(reported, None)
        if error is not None and error.fatal():
            self._break(error.name())
        if not reported.done():
            if error is None:
                reported.set_result(Position(message.partition() or 0, message.offset() or 0))
            else:
                why = self._said.why(error, f"topic {message.topic()}")
                reported.set_exception(Unavailable(f"broker-{error.name()}", why))

    def _give_up_overdue(self) -> None:
        """Fail the records whose reports are overdue; librdkafka's own limit should have reported them before."""
        now = self._loop.time()
        while self._awaited and (oldest := next(iter(self._awaited.items())))[1] <= now:
            del self._awaited[oldest[0]]
            if not oldest[0].done():
                oldest[0].set_exception(Unavailable("broker-no-report", self._said.why()))

    def _note(self, error: Exception) -> None:
        """Note what `produce` or `poll` raised; only a full queue's or a record's own error leaves the producer in use."""
        if isinstance(error, BufferError):
            return
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if cause is None:
            self._break(type(error).__name__)
        elif cause.fatal() or cause.code() == KafkaError._FATAL:  # noqa: SLF001 - the name of a public constant
            self._break(cause.name())

    def _break(self, name: str) -> None:
        """Use the producer no more: after a fatal error an idempotent producer sends nothing.

        Records that it has sent may still be acknowledged; those in its queue are reported as errors at once.
        """
        if self.is_broken:
            return
        self.is_broken = True
        PRODUCER_BROKEN.labels(name).inc()
        log.error("producer_broken", error=name)
        self._producer.purge(in_queue=True, in_flight=False, blocking=False)
