"""The catalog job on real servers: records become rows and revisions, even if the database is down for a while."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from deploy.local.running import RunningStack, wait_until
from operators.connectors.kafka.log import KafkaEventLog, producer_config
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.store.ports import Position
from schemas.codec import decode
from schemas.events import Event, StudySettled
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import (
    INSTANCE_CONFLICT,
    RECORD_REJECTED,
    STUDY_SETTLED,
    TOPICS,
    TRANSFER_ENDED,
    Topic,
    study_key,
)
from tests.support.worlds.catalog_histories import (
    NOON,
    choice,
    command,
    due,
    ended,
    in_tenant,
    instance,
    quarantined,
)

SOON_S = 60.0
TENANT = f"test-{uuid4().hex[:20]}"


@pytest.fixture(scope="module")
def broker(stack: RunningStack) -> BrokerSettings:
    return load(BrokerSettings, stack.env)


def publish(broker: BrokerSettings, *events: Event) -> tuple[int, int]:
    """Publish these events; return the position of the last one."""
    last = asyncio.run(published(broker, events))
    return last.partition, last.offset


async def published(broker: BrokerSettings, events: Sequence[Event]) -> Position:
    async with KafkaEventLog(broker) as log:
        for event in events:
            topic = next(topic for topic in TOPICS if isinstance(event, topic.event))
            position = await log.publish(topic, in_tenant(event, TENANT))
        return position


def send(broker: BrokerSettings, topic: Topic, key: bytes, value: bytes) -> None:
    """Send a record that need not be an event."""
    producer = Producer(producer_config(broker))
    producer.produce(topic.name, key=key, value=value)
    assert producer.flush(SOON_S) == 0


def until_rejected_by_both(broker: BrokerSettings, value: bytes) -> None:
    """Wait until both jobs have rejected a record with this value, and so have read what lies before it."""

    def operators() -> set[str]:
        return {event.operator for event in read(broker, RECORD_REJECTED, 1) if event.origin_value == value}

    wait_until(lambda: operators() == {"study", "catalog"}, SOON_S, "not rejected by both jobs")


def read(broker: BrokerSettings, topic: Topic, count: int) -> list[Any]:
    """Return the test's own events of a topic, from its earliest record: at least `count` of them, and any others."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": f"test-{uuid4()}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic.name])
    found: list[Any] = []
    deadline = time.monotonic() + SOON_S
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None and len(found) >= count:
                break
            if message is not None and not message.error():
                found.append(decode(message.value() or b""))
                found = [event for event in found if event.tenant == TENANT]
    finally:
        consumer.close()
    return found


def study(stack: RunningStack, study_uid: str) -> tuple[Any, ...] | None:
    """Return (instances, revisions) of a study; None while the database does not answer."""
    settings = stack.catalog("writer")
    try:
        with psycopg.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=settings.password,
            connect_timeout=2,
        ) as connection:
            return connection.execute(
                "SELECT instances, (SELECT count(*) FROM revision WHERE tenant = %(tenant)s AND study_uid = %(study)s)"
                " FROM study WHERE tenant = %(tenant)s AND study_uid = %(study)s",
                {"tenant": TENANT, "study": study_uid},
            ).fetchone()
    except psycopg.OperationalError:
        return None


def test_records_become_rows_and_a_revision(stack: RunningStack, broker: BrokerSettings) -> None:
    last = publish(broker, *(instance(study="1.2.71", sop=str(number)) for number in range(5)))
    publish(broker, due("1.2.71", last))
    wait_until(lambda: study(stack, "1.2.71") == (5, 1), SOON_S, "no revision")
    settled = [event for event in read(broker, STUDY_SETTLED, 1) if event.study_uid == "1.2.71"]

    assert {(event.revision, event.instances) for event in settled if isinstance(event, StudySettled)} == {(1, 5)}


def test_a_quarantined_instance_becomes_a_row_and_a_conflict_an_event(
    stack: RunningStack, broker: BrokerSettings
) -> None:
    hidden = PostgresHiddenRows(stack.catalog("writer"))
    shown, lost = instance(study="1.2.74", content="a"), instance(study="1.2.74", content="b", second=1)
    publish(broker, quarantined(), lost, shown)
    wait_until(lambda: len(hidden.conflicts(TENANT, 9)) == 1, SOON_S, "no conflict")
    wait_until(lambda: len(hidden.quarantined(TENANT, 9)) == 1, SOON_S, "no quarantined instance")
    publish(broker, quarantined(state="released"))
    wait_until(lambda: hidden.quarantined(TENANT, 9, held_at=NOON) == (), SOON_S, "not released")
    announced = {event for event in read(broker, INSTANCE_CONFLICT, 1) if event.study_uid == "1.2.74"}

    assert [(event.shown_data_hash, event.lost_data_hash) for event in announced] == [(shown.data_hash, lost.data_hash)]


def test_a_transfer_that_stored_nothing_becomes_a_row_and_no_job_rejects_it(
    stack: RunningStack, broker: BrokerSettings
) -> None:
    hidden, refused = PostgresHiddenRows(stack.catalog("writer")), ended(None, transfer="refused", instances=0)
    publish(broker, replace(refused, refused={"too-large": 2}))
    send(broker, TRANSFER_ENDED, f"{TENANT}/refused".encode(), b"behind it")
    until_rejected_by_both(broker, b"behind it")
    rows = hidden.transfers(TENANT, 9, since=NOON, until=NOON + timedelta(days=1))
    rejected = [event for event in read(broker, RECORD_REJECTED, 2) if event.origin_topic == TRANSFER_ENDED.name]

    assert [(row.study_uid, row.refused) for row in rows] == [("", {"too-large": 2})]
    assert {event.origin_value for event in rejected} == {b"behind it"}


def test_commands_hide_a_study_show_it_again_and_choose_its_content(
    stack: RunningStack, broker: BrokerSettings
) -> None:
    hidden = PostgresHiddenRows(stack.catalog("writer"))
    first, other = instance(study="1.2.75", content="a"), instance(study="1.2.75", content="b", second=1)
    last = publish(broker, first, instance(study="1.2.75", sop="2"))
    publish(broker, due("1.2.75", last))
    wait_until(lambda: study(stack, "1.2.75") == (2, 1), SOON_S, "no revision")
    deleted = publish(broker, command("delete", "1.2.75", second=1))
    publish(broker, due("1.2.75", number=2, commands=deleted))
    wait_until(lambda: study(stack, "1.2.75") == (0, 2), SOON_S, "no revision of the deleted study")
    restored = publish(broker, choice(other, second=2), command("restore", "1.2.75", second=3))
    publish(broker, due("1.2.75", number=3, commands=restored))
    wait_until(lambda: study(stack, "1.2.75") == (2, 3), SOON_S, "no revision of the restored study")
    settled = [event for event in read(broker, STUDY_SETTLED, 3) if event.study_uid == "1.2.75"]
    conflicts = [pair for pair in hidden.conflicts(TENANT, 9) if pair.lost.study_uid == "1.2.75"]

    assert sorted({(event.revision, event.instances) for event in settled}) == [(1, 2), (2, 0), (3, 2)]
    assert [(pair.shown.data_hash, pair.lost.data_hash) for pair in conflicts] == [(other.data_hash, first.data_hash)]
    assert [row.action for row in hidden.commands(TENANT, "1.2.75")] == ["delete", "choose", "restore"]
    assert {row.revision for row in hidden.dues(TENANT, "1.2.75")} >= {1, 2, 3}


def test_a_killed_database_loses_and_doubles_nothing(stack: RunningStack, broker: BrokerSettings) -> None:
    stack.kill("postgres")
    last = publish(broker, *(instance(study="1.2.73", sop=str(number)) for number in (1, 2, 2, 3)))
    publish(broker, due("1.2.73", last))
    stack.wait_healthy("postgres")
    wait_until(lambda: study(stack, "1.2.73") == (3, 1), SOON_S, "the records of the outage are not cataloged")
    settled = {event for event in read(broker, STUDY_SETTLED, 1) if event.study_uid == "1.2.73"}

    assert [(event.revision, event.instances) for event in settled] == [(1, 3)]
    assert [
        event for event in read(broker, RECORD_REJECTED, 0) if event.origin_key == study_key(TENANT, "1.2.73")
    ] == []
