"""The study job on real servers."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer

from deploy.local.running import RunningStack, wait_until
from deploy.local.supervision import processes
from operators.connectors.kafka.log import producer_config
from schemas.codec import decode, encode
from schemas.events import Event, InstanceStored, RecordRejected, StudyCommand, StudyDue, TransferEnded
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import RECORD_REJECTED, STUDY_DUE, Topic, record_key, study_key
from tests.support.worlds.studies import TENANT, TOPIC_OF, command, ended, instance

SOON_S = 30.0
RESTART_S = 90.0

Wanted = Callable[[Event], bool]


def any_event(event: Event) -> bool:  # noqa: ARG001
    return True


class Broker:
    """A client of the broker: it sends any record, and reads topics from their earliest record."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._producer = Producer(producer_config(settings))

    def send(self, topic: Topic, key: bytes, value: bytes) -> None:
        """Send a record and wait until the broker has it."""
        self._producer.produce(topic.name, key=key, value=value)
        assert self._producer.flush(SOON_S) == 0

    def publish(self, *published: InstanceStored | TransferEnded | StudyCommand) -> None:
        """Send events as the gateway would."""
        for event in published:
            self.send(TOPIC_OF[type(event)], record_key(event), encode(event))

    def wait_for(
        self, topic: Topic, study: str, within_s: float = SOON_S, *, wanted_count: int = 1, wanted: Wanted = any_event
    ) -> list[Event]:
        """Return the wanted events of a study in a topic once there are so many; fail when there are fewer in time."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._settings.bootstrap,
                "group.id": f"test-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([topic.name])
        try:
            return list(found(consumer, study_key(TENANT, study), wanted, within_s, wanted_count))
        finally:
            consumer.close()


def found(consumer: Consumer, key: bytes, wanted: Wanted, within_s: float, wanted_count: int = 1) -> Iterator[Event]:
    """Yield wanted events of a key until so many were found and no more records arrive."""
    deadline, count = time.monotonic() + within_s, 0
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None and count >= wanted_count:
            return
        # Under other keys there may be poison: other tests share the stack.
        if message is None or message.error() or message.key() != key:
            continue
        event = decode(message.value() or b"")
        if wanted(event):
            count += 1
            yield event
    if count < wanted_count:
        pytest.fail(f"{count} wanted events within {within_s:.0f} s")


@pytest.fixture
def broker(stack: RunningStack) -> Broker:
    return Broker(load(BrokerSettings, stack.env))


@pytest.fixture
def study() -> str:
    return f"2.25.{uuid.uuid4().int}"


def test_a_released_transfer_makes_a_study_due(broker: Broker, study: str) -> None:
    transfer = str(uuid.uuid4())
    broker.publish(*(instance(number, transfer, study=study) for number in (1, 2)), ended(transfer, 2, study=study))

    (due,) = broker.wait_for(STUDY_DUE, study)
    assert isinstance(due, StudyDue)
    assert (due.signal, due.window_instances, due.window_transfers) == ("released", 2, 1)
    assert due.instance_offset is not None


def test_commands_make_a_study_due(broker: Broker, study: str) -> None:
    expects, deletes = command("expect", 1, expects=2, study=study), command("delete", 2, study=study)
    broker.publish(command("expect", 3, expects=0, study=study), expects)
    broker.publish(*(instance(number, study, study=study) for number in (1, 2)))
    (expected,) = broker.wait_for(STUDY_DUE, study)
    broker.publish(deletes, deletes)
    _, commanded = broker.wait_for(STUDY_DUE, study, wanted_count=2)
    (rejected,) = broker.wait_for(RECORD_REJECTED, study, wanted=is_rejected_by_study_job)

    assert isinstance(expected, StudyDue)
    assert (expected.signal, expected.window_instances) == ("expected", 2)
    assert expects.event_id in expected.cause
    assert isinstance(commanded, StudyDue)
    assert (commanded.signal, commanded.window_instances, commanded.cause) == ("commanded", 0, (deletes.event_id,))
    assert (commanded.instance_offset, commanded.command_offset is None) == (None, False)
    assert isinstance(rejected, RecordRejected)
    assert rejected.reason == "expects-no-instance"


def is_rejected_by_study_job(event: Event) -> bool:
    return isinstance(event, RecordRejected) and event.operator == "study"


def test_a_window_survives_a_killed_jvm(stack: RunningStack, broker: Broker, study: str) -> None:
    broker.publish(instance(1, study, study=study))
    killed = stack.state().servers["flink"]
    jvm = next(stat.process.pid for stat in processes.family([killed.process]) if stat.parent == killed.process.pid)
    os.kill(jvm, signal.SIGKILL)
    wait_until(lambda: stack.has_changed("flink", killed), 10, "the launcher does not see that the JVM was killed")
    broker.publish(instance(2, study, study=study), ended(study, 2, study=study))
    stack.wait_healthy("flink", RESTART_S)

    dues = broker.wait_for(STUDY_DUE, study, RESTART_S)
    assert {due.window_instances for due in dues if isinstance(due, StudyDue)} == {2}
    assert {due.signal for due in dues if isinstance(due, StudyDue)} == {"released"}
