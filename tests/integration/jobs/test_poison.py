"""Records that can never be processed, in every topic that a job reads: each is a dead letter soon, and blocks nothing."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from confluent_kafka import Message, Producer

from deploy.local.running import RunningStack, wait_until
from operators.connectors.kafka.log import producer_config
from pipelines.jobs import JOBS
from schemas.codec import HEADER_BYTES, encode
from schemas.events import (
    Event,
    Facts,
    InstanceQuarantined,
    InstanceStored,
    PolicyChanged,
    RecordRejected,
    StudyCommand,
    StudyDue,
    StudySettled,
    TransferEnded,
)
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import POLICY_CHANGED, RECORD_REJECTED, STUDY_SETTLED, TOPICS, record_key
from tests.support.faults.matrix import Healing
from tests.support.servers.records import records
from tests.support.worlds import catalog_histories, policies, studies

SOON_S = 30.0
STUDY = f"2.25.{uuid4().int}"
# An event of each topic that a job reads.
EVENTS: dict[type[Event], Event] = {
    InstanceStored: studies.instance(1, STUDY, study=STUDY),
    TransferEnded: studies.ended(STUDY, study=STUDY),
    StudyCommand: studies.command("hold", study=STUDY),
    StudyDue: replace(catalog_histories.due(), study_uid=STUDY),
    InstanceQuarantined: catalog_histories.quarantined(),
    PolicyChanged: policies.policy(),
}
# As much as the broker takes, framing included, that cannot be compressed.
GIANT = random.Random(1).randbytes(2**20 - 1024)


def others(event: Event) -> Event:
    """Return an event of another topic."""
    return EVENTS[StudyDue if isinstance(event, InstanceStored) else InstanceStored]


# Key and value of a record of each kind, made of an event that is good.
POISON: dict[str, Callable[[Event], tuple[bytes | None, bytes | None]]] = {
    "no marker": lambda event: (record_key(event), b"no event"),
    "nothing": lambda event: (record_key(event), b""),
    "no value": lambda event: (record_key(event), None),
    "no key": lambda event: (None, encode(event)),
    "another's key": lambda event: (b"local/another", encode(event)),
    "no body": lambda event: (record_key(event), encode(event)[:HEADER_BYTES]),
    "half a body": lambda event: (record_key(event), encode(event)[: len(encode(event)) // 2]),
    "another topic's event": lambda event: (record_key(event), encode(others(event))),
    "a body of noise": lambda event: (record_key(event), encode(event)[:HEADER_BYTES] + GIANT[:1000]),
    "1 MiB of noise": lambda event: (record_key(event), GIANT),
    "1 MiB of noise as a body": lambda event: (record_key(event), encode(event)[:HEADER_BYTES] + GIANT),
}

# Operator, topic, partition, offset: which job has rejected which record.
Place = tuple[str, str, int, int]


def poisoned(producer: Producer) -> dict[Place, bytes]:
    """Send every kind of poison to every topic; return the value that each job must reject at each place."""
    sent: dict[Place, bytes] = {}

    def note(error: object, message: Message) -> None:
        assert error is None
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        for job in JOBS:
            if topic in job.topics:
                sent[job.name, topic, partition, offset] = message.value() or b""

    for topic in TOPICS:
        if any(topic in job.reads for job in JOBS):
            for kind, (key, value) in ((kind, made(EVENTS[topic.event])) for kind, made in POISON.items()):
                # The broker takes no record without a key into a topic that it compacts.
                if not (topic == POLICY_CHANGED and kind == "no key"):
                    producer.produce(topic.name, key=key, value=value, on_delivery=note)
    assert producer.flush(SOON_S) == 0
    return sent


def healthy() -> Iterator[Event]:
    """Yield a study behind the poison, under its key: one of its instances has a fact of almost 1 MiB."""
    yield studies.instance(2, STUDY, study=STUDY)
    yield replace(studies.instance(3, STUDY, study=STUDY), facts=Facts(modality="CR", patient_id="P" * 2**19))
    yield studies.ended(STUDY, 2, study=STUDY)


def letters(broker: BrokerSettings) -> dict[Place, bytes | None]:
    """Return the bytes of the records that were rejected, by who rejected which."""
    events = (one.event for one in records(broker, RECORD_REJECTED))
    return {
        (event.operator, event.origin_topic, event.origin_partition, event.origin_offset): event.origin_value
        for event in events
        if isinstance(event, RecordRejected)
    }


def settled(broker: BrokerSettings) -> set[int]:
    """Return how many instances the revisions of the study have."""
    events = (one.event for one in records(broker, STUDY_SETTLED))
    return {one.instances for one in events if isinstance(one, StudySettled) and one.study_uid == STUDY}


@pytest.mark.fault("F24", f"poison of {len(POISON)} kinds in each topic that a job reads")
def test_poison_in_any_topic_is_a_dead_letter_of_each_job_soon_and_blocks_nothing(
    stack: RunningStack, healing: Healing
) -> None:
    broker = load(BrokerSettings, stack.env)
    producer = Producer(producer_config(broker))

    sent = poisoned(producer)
    with healing.timed():
        for event in healthy():
            topic = next(topic for topic in TOPICS if isinstance(event, topic.event))
            producer.produce(topic.name, key=record_key(event), value=encode(event))
        assert producer.flush(SOON_S) == 0
        wait_until(lambda: sent.keys() <= letters(broker).keys(), SOON_S, "not all poison is rejected")
        wait_until(lambda: settled(broker) == {2}, SOON_S, "the study behind the poison is not settled")
    kept = letters(broker)

    assert len(sent) == 3 * len(POISON) + 6 * len(POISON) - 1
    assert {place: kept[place] for place in sent} == sent
