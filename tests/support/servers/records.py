"""Every record of topics, decoded, with its place and the time at which the broker appended it."""

from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from operators.connectors.kafka.positions import Positions
from schemas.codec import decode
from schemas.events import Event
from schemas.settings.servers import BrokerSettings
from schemas.topics import Topic

ANSWER_S = 20.0


@dataclass(frozen=True)
class Record:
    """An event in its topic; `at_s` is in Unix seconds by the broker's clock."""

    event: Event
    topic: str
    partition: int
    offset: int
    at_s: float


def records(broker: BrokerSettings, *topics: Topic) -> Iterator[Record]:
    """Yield every record that topics have now, each partition in order."""
    extents = Positions(broker).extents([topic.name for topic in topics])
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "test-records", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(*place, extent.earliest) for place, extent in extents.items()])
    try:
        for _ in range(sum(extent.end - extent.earliest for extent in extents.values())):
            message = consumer.poll(ANSWER_S)
            assert message is not None
            kind, at_ms = message.timestamp()
            assert kind == TIMESTAMP_LOG_APPEND_TIME
            event = decode(message.value() or b"")
            yield Record(event, message.topic(), message.partition(), message.offset(), at_ms / 1000)
    finally:
        consumer.close()
