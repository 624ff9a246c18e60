"""The auditor reads topics to their ends, again and again."""

import time

from confluent_kafka import Producer

from tests.audit.collect.topics import TOPICS, Topics
from tests.support.machine.mock_kafka import MockKafka

READINGS = 4


def test_reading_on_where_nothing_was_added_takes_no_time() -> None:
    broker = MockKafka()
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for topic in TOPICS:
        producer.produce(topic, b"no event")
    assert producer.flush(20) == 0

    with Topics(broker.bootstrap) as topics:
        topics.read_on()
        began_s = time.monotonic()
        for _ in range(READINGS):
            topics.read_on()
        took_s = time.monotonic() - began_s

    assert len(topics.unreadable) == len(TOPICS)
    # 0.1 s; where the broker waits for records, 1.5 s each.
    assert took_s < READINGS * 0.75
