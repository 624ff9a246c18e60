"""Positions on a real broker: what expired before a group read it, and what is about to."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from operators.connectors.kafka.positions import Positions
from operators.connectors.kafka.topics import prepare_topics
from operators.connectors.memory.catalog import MemoryProgress
from pipelines.jobs import STUDY
from pipelines.launch import expiry
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED
from tests.support.machine.own_broker import own_broker

WITHIN_S = 30.0
PLACE = (INSTANCE_STORED.name, 0)
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, installed: object) -> Iterator[BrokerSettings]:
    """A broker with 60 records of one partition, of which the study job's group has read 10, and 50 have expired."""
    assert installed
    with own_broker(tmp_path_factory.mktemp("broker") / "data") as settings:
        asyncio.run(prepare_topics(settings))
        producer = Producer({"bootstrap.servers": settings.bootstrap})
        for number in range(60):
            producer.produce(INSTANCE_STORED.name, str(number).encode(), partition=0)
        assert producer.flush(WITHIN_S) == 0
        read = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": STUDY.name})
        read.commit(offsets=[TopicPartition(*PLACE, 10)], asynchronous=False)
        read.close()
        client = AdminClient({"bootstrap.servers": settings.bootstrap})
        for deleted in client.delete_records([TopicPartition(*PLACE, 50)]).values():
            deleted.result(WITHIN_S)
        yield settings


def test_a_start_counts_the_records_that_expired_unread(
    broker: BrokerSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = JobSettings(checkpoint_dir=tmp_path_factory.mktemp("checkpoints"))
    with capture_logs() as logs:
        expiry.report_expired(Servers(Positions(broker), MemoryProgress()), settings)

    assert [(line["event"], line["job"], line["topic"], line["records"]) for line in logs] == [
        ("records_expired_unread", "study", INSTANCE_STORED.name, 40)
    ]


def test_the_first_record_of_a_moment_is_found_by_the_brokers_date(broker: BrokerSettings) -> None:
    positions, now_ms = Positions(broker), int(time.time() * 1000)

    assert positions.offsets_at([INSTANCE_STORED.name], now_ms - HOUR_MS)[PLACE] == 50
    assert positions.offsets_at([INSTANCE_STORED.name], now_ms + HOUR_MS)[PLACE] == 60


@pytest.mark.parametrize(("later", "records"), [(0.4, []), (0.6, [10])])
def test_an_alarm_comes_once_unread_records_are_older_than_half_of_the_retention(
    broker: BrokerSettings, later: float, records: list[int]
) -> None:
    then_ms = int(time.time() * 1000 + later * (INSTANCE_STORED.retention_ms or 0))
    with capture_logs() as logs:
        expiry.report_lag(Positions(broker), [STUDY], then_ms)

    assert [(line["event"], line["records"]) for line in logs] == [("job_lag_alarm", count) for count in records]


def test_a_group_is_given_the_offsets_that_it_is_to_have(broker: BrokerSettings) -> None:
    positions = Positions(broker)
    positions.commit("another", {PLACE: 55})

    positions.commit("another", {PLACE: 50})

    assert positions.committed("another", [PLACE]) == {PLACE: 50}
