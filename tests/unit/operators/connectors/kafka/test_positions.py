"""The offsets of a group, asked of librdkafka's own mock broker, which can be told to fail."""

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from operators.connectors.kafka.positions import Positions
from schemas.settings.servers import BrokerSettings
from tests.support.machine.mock_kafka import MockKafka

TOPIC, GROUP = "records", "job"


@pytest.mark.parametrize(
    "error",
    [KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS],
)
def test_a_group_whose_coordinator_is_not_there_yet_is_asked_again(error: int) -> None:
    broker = MockKafka()
    commit(broker, 7)
    broker.fail_offset_fetches(error, error)

    assert Positions(BrokerSettings(bootstrap=broker.bootstrap)).committed(GROUP, [(TOPIC, 0)]) == {(TOPIC, 0): 7}


def commit(broker: MockKafka, offset: int) -> None:
    """Commit an offset of the first partition, as the group would; the record before makes the topic."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 3})
    producer.produce(TOPIC, b"", partition=0)
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": GROUP, "log_level": 3})
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, offset)], asynchronous=False)
    consumer.close()
