"""Wait for studies to settle, by the events of the topic study-settled."""

import time
from collections.abc import Collection, Iterator
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from deploy.errors import Failed
from operators.connectors.kafka.clients import client_config
from schemas.codec import decode
from schemas.events import StudySettled
from schemas.settings.servers import BrokerSettings
from schemas.topics import STUDY_SETTLED

POLL_S = 0.2
LEADER_S = 15.0


class SettledWatch:
    """A consumer of the topic's events from the moment when it is entered; it commits no offsets."""

    def __init__(self, settings: BrokerSettings) -> None:
        config = {"group.id": "fluoro-demo", "enable.auto.commit": False}
        self.consumer = Consumer(client_config(settings) | config)

    def __enter__(self) -> Self:
        try:
            self.consumer.assign(self.ends())
        except BaseException:
            self.consumer.close()
            raise
        return self

    def ends(self) -> list[TopicPartition]:
        """Return the present end of each partition; waits for their leaders, and raises Failed when there are none."""
        deadline = time.monotonic() + LEADER_S
        while True:
            try:
                return self._present_ends(STUDY_SETTLED.name)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise Failed(f"the broker does not say where {STUDY_SETTLED.name} ends: {error}") from error
                time.sleep(POLL_S)

    def _present_ends(self, name: str) -> list[TopicPartition]:
        topic = self.consumer.list_topics(name, timeout=LEADER_S).topics[name]
        if topic.error is not None:
            raise KafkaException(topic.error)
        places = [TopicPartition(name, partition) for partition in topic.partitions]
        ends = [self.consumer.get_watermark_offsets(place, timeout=LEADER_S)[1] for place in places]
        return [TopicPartition(name, place.partition, end) for place, end in zip(places, ends, strict=True)]

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def wait(self, studies: Collection[str], timeout_s: float) -> Iterator[StudySettled]:
        """Yield the event of each study as it settles; raises Failed when a study does not settle in time."""
        left, events = set(studies), self._events(timeout_s)
        while left:
            event = next(events, None)
            if event is None:
                raise Failed(f"{len(left)} studies not settled within {timeout_s:.0f} s, {min(left)} among them")
            if event.study_uid in left:
                left.remove(event.study_uid)
                yield event

    def until(self, study_uid: str, instances: int, timeout_s: float) -> StudySettled:
        """Return the next event by which a study shows so many instances; raises Failed when there is none in time."""
        found = (
            event for event in self._events(timeout_s) if (event.study_uid, event.instances) == (study_uid, instances)
        )
        event = next(found, None)
        if event is None:
            raise Failed(f"study {study_uid} not settled with {instances} instances within {timeout_s:.0f} s")
        return event

    def _events(self, timeout_s: float) -> Iterator[StudySettled]:
        """Yield the events of all studies until the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            record = self.consumer.poll(POLL_S)
            event = decode(record.value()) if record and not record.error() else None
            if isinstance(event, StudySettled):
                yield event
