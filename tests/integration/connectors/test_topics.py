"""Topics at a real broker: records are dated by the broker alone, also in topics that an earlier release has made."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from structlog.testing import capture_logs

from deploy.local.running import wait_until
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.kafka.positions import Positions
from operators.connectors.kafka.topics import prepare_topics
from operators.store.ports import Position
from schemas.events import TransferEnded, event_id
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, STUDY_SETTLED, TOPICS, TRANSFER_ENDED, Topic
from tests.support.machine.own_broker import own_broker

WITHIN_S = 30.0
DATED_BY_SENDERS = "dated-by-senders"
OLD = timedelta(milliseconds=TRANSFER_ENDED.retention_ms or 0) + timedelta(days=1)
# Topics as an operator may have made them, or an earlier release: their own settings, or the broker's defaults.
MADE_BEFORE = {
    INSTANCE_STORED.name: {"message.timestamp.type": "CreateTime", "retention.ms": str(90 * 24 * 3600 * 1000)},
    TRANSFER_ENDED.name: {},
    STUDY_SETTLED.name: {"max.message.bytes": "1000"},
}


@dataclass(frozen=True)
class Prepared:
    """The topics whose preparation was logged as a change, and their settings before."""

    broker: BrokerSettings
    altered: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, installed: object) -> Iterator[Prepared]:
    """A broker that looks for expired records twice a second, with topics made before the archive came."""
    assert installed
    with own_broker(tmp_path_factory.mktemp("broker") / "data") as settings:
        control = {"retention.ms": "1000", "message.timestamp.type": "CreateTime"}
        make(settings, {**MADE_BEFORE, DATED_BY_SENDERS: control})
        made = Prepared(settings, prepare(settings))
        # The controller answers for a change before the broker has heard of it.
        wait_until(lambda: prepare(settings) == {}, WITHIN_S, "the broker does not hear of changed topics")
        yield made


@pytest.fixture
def broker(prepared: Prepared) -> BrokerSettings:
    return prepared.broker


def prepare(settings: BrokerSettings) -> dict[str, dict[str, str]]:
    """Prepare the topics; return the former settings of those that were altered, as they are logged."""
    with capture_logs() as logged:
        asyncio.run(prepare_topics(settings))
    return {line["topic"]: line["before"] for line in logged if line["event"] == "topic_altered"}


def make(settings: BrokerSettings, topics: dict[str, dict[str, str]]) -> None:
    client = AdminClient({"bootstrap.servers": settings.bootstrap})
    wanted = [NewTopic(name, 1, 1, config=config) for name, config in topics.items()]
    for created in client.create_topics(wanted).values():
        created.result(WITHIN_S)


def ended(occurred_at: datetime) -> TransferEnded:
    return TransferEnded(
        event_id=event_id(occurred_at.isoformat()),
        tenant="local",
        occurred_at=occurred_at,
        transfer_id="1",
        study_uid="1.2.3",
        outcome="well",
        instances=1,
        began_at=occurred_at,
    )


def published(settings: BrokerSettings, occurred_at: datetime) -> Position:
    async def publish() -> Position:
        async with KafkaEventLog(settings) as log:
            return await log.publish(TRANSFER_ENDED, ended(occurred_at))

    return asyncio.run(publish())


def config_of(settings: BrokerSettings, topic: str) -> dict[str, str]:
    client, asked = AdminClient({"bootstrap.servers": settings.bootstrap}), ConfigResource(ResourceType.TOPIC, topic)
    entries = client.describe_configs([asked])[asked].result(WITHIN_S)
    return {name: entry.value for name, entry in entries.items()}


def earliest(settings: BrokerSettings, topic: str, partition: int) -> int:
    return Positions(settings).extents([topic])[topic, partition].earliest


def wait_for_a_whole_retention_check(settings: BrokerSettings) -> None:
    """Return once the broker has looked for expired records in every topic.

    Two expired records are deleted one after the other: between the first and the second deletion the check has come
    by every other topic.
    """
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for _ in range(2):
        before = Positions(settings).extents([DATED_BY_SENDERS])[DATED_BY_SENDERS, 0].end
        producer.produce(DATED_BY_SENDERS, b"expired", timestamp=int((time.time() - 3600) * 1000))
        assert producer.flush(WITHIN_S) == 0
        deadline = time.monotonic() + WITHIN_S
        while earliest(settings, DATED_BY_SENDERS, 0) <= before:
            assert time.monotonic() < deadline, "the broker deletes no expired record"
            time.sleep(0.1)


def test_the_event_of_something_older_than_the_retention_is_kept(broker: BrokerSettings) -> None:
    place = published(broker, datetime.now(UTC) - OLD)
    wait_for_a_whole_retention_check(broker)

    assert earliest(broker, TRANSFER_ENDED.name, place.partition) <= place.offset


def test_an_event_from_a_clock_that_is_ahead_is_accepted(broker: BrokerSettings) -> None:
    place = published(broker, datetime.now(UTC) + timedelta(hours=1.5))

    assert place.offset >= 0


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_dates_its_records_by_the_broker_whoever_made_it(broker: BrokerSettings, topic: Topic) -> None:
    assert config_of(broker, topic.name)["message.timestamp.type"] == "LogAppendTime"


def test_what_is_altered_is_logged_once_with_its_value_before(prepared: Prepared) -> None:
    assert prepared.altered == {
        INSTANCE_STORED.name: {"message.timestamp.type": "CreateTime"},
        TRANSFER_ENDED.name: {"message.timestamp.type": "CreateTime"},
        STUDY_SETTLED.name: {"message.timestamp.type": "CreateTime", "max.message.bytes": "1000"},
    }
    assert prepare(prepared.broker) == {}


def test_a_record_that_names_a_time_as_those_of_the_jobs_do_is_dated_by_the_broker(broker: BrokerSettings) -> None:
    reported: list[Message] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(STUDY_SETTLED.name, b"", timestamp=1, on_delivery=lambda _, message: reported.append(message))
    assert producer.flush(WITHIN_S) == 0

    kind, at_ms = reported[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert abs(at_ms / 1000 - time.time()) < WITHIN_S


def test_a_topic_that_takes_too_small_records_takes_ours(broker: BrokerSettings) -> None:
    assert config_of(broker, STUDY_SETTLED.name)["max.message.bytes"] == str(STUDY_SETTLED.max_message_bytes)


def test_a_retention_that_an_operator_has_chosen_stays(broker: BrokerSettings) -> None:
    assert config_of(broker, INSTANCE_STORED.name)["retention.ms"] == MADE_BEFORE[INSTANCE_STORED.name]["retention.ms"]
