"""Positions in topics: the records that a broker has, and the offsets that consumer groups have committed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec, TopicDescription

from operators.connectors.kafka.clients import BrokerAdmin, client_config
from operators.errors import Unavailable
from schemas.settings.servers import BrokerSettings

T = TypeVar("T")
UNKNOWN_TOPIC = KafkaError.UNKNOWN_TOPIC_OR_PART
Partition = tuple[str, int]
RETRY_S = 0.1
# The errors of a broker that has just started and has not made the group's coordinator yet.
NOT_YET = (
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
)


@dataclass(frozen=True)
class Extent:
    """The offset of a partition's earliest record, and the offset after its last record."""

    earliest: int
    end: int


class Positions:
    """The positions in a Kafka cluster. Only `commit` changes any.

    Every method raises Unavailable when the broker answers with an error, or not within `produce_s`.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._client = BrokerAdmin(settings)

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return each topic's id; a topic that was deleted and created again has a new id."""
        return {name: str(topic.topic_id) for name, topic in self._describe(topics).items()}

    def extents(self, topics: Iterable[str]) -> dict[Partition, Extent]:
        """Return the extent of every partition of these topics."""
        partitions = [
            TopicPartition(name, partition.id)
            for name, topic in self._describe(topics).items()
            for partition in topic.partitions
        ]
        earliest = self._offsets(partitions, OffsetSpec.earliest())
        end = self._offsets(partitions, OffsetSpec.latest())
        return {partition: Extent(earliest[partition], end[partition]) for partition in earliest}

    def offsets_at(self, topics: Iterable[str], at_ms: int) -> dict[Partition, int]:
        """Return for each partition the offset of its first record that the broker dated at this moment or later.

        That is the offset after the last record if there is none. The moment is in Unix milliseconds.
        """
        extents = self.extents(topics)
        found = self._offsets([TopicPartition(*place) for place in extents], OffsetSpec.for_timestamp(at_ms))
        return {place: extents[place].end if offset < 0 else offset for place, offset in found.items()}

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that a group has committed in these partitions; empty for a group that never committed."""
        places = [TopicPartition(*partition) for partition in partitions]
        found = self._until_coordinated(lambda: self._committed(group, places), f"group {group}")
        return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Set the offsets that a group, which no consumer is a member of, has committed in these partitions."""
        places = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        self._until_coordinated(lambda: self._commit(group, places), f"group {group}")

    def _committed(self, group: str, places: list[TopicPartition]) -> list[TopicPartition]:
        with self._of_group(group) as consumer:
            return consumer.committed(places, timeout=self._settings.produce_s)  # type: ignore[no-any-return]

    def _commit(self, group: str, places: list[TopicPartition]) -> None:
        with self._of_group(group) as consumer:
            consumer.commit(offsets=places, asynchronous=False)

    @contextmanager
    def _of_group(self, group: str) -> Iterator[Consumer]:
        """Open a consumer, which joins no group: an AdminClient dies of the answer that a group has no coordinator."""
        config = client_config(self._settings) | {"group.id": group, "enable.auto.commit": False}
        with closing(Consumer(config)) as consumer:
            try:
                yield consumer
            except KafkaException as error:
                raise _told(consumer) or error from error

    def _until_coordinated(self, ask: Callable[[], T], about: str) -> T:
        """Return the answer of `ask`; ask again while the broker has no coordinator for the group yet."""
        deadline = time.monotonic() + self._settings.produce_s
        with self._client.asking(about):
            while True:
                try:
                    return ask()
                except KafkaException as error:
                    if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                        raise
                    time.sleep(RETRY_S)

    def _describe(self, topics: Iterable[str]) -> Mapping[str, TopicDescription]:
        asked = self._client.describe_topics(TopicCollection(sorted(topics)), request_timeout=self._settings.produce_s)
        described = {}
        for name, future in asked.items():
            with self._client.asking(f"topic {name}"):
                described[name] = future.result()
        return described

    def _offsets(self, partitions: Iterable[TopicPartition], which: OffsetSpec) -> dict[Partition, int]:
        asked = self._client.list_offsets(dict.fromkeys(partitions, which), request_timeout=self._settings.produce_s)
        with self._client.asking():
            return {(place.topic, place.partition): future.result().offset for place, future in asked.items()}


def _told(consumer: Consumer) -> KafkaException | None:
    """Return the error that a consumer has noted meanwhile, such as a missing right to the group; None if there is none."""
    message = consumer.poll(0)
    error = message.error() if message is not None else None
    return KafkaException(error) if error is not None else None


def is_unknown_topic(error: Unavailable) -> bool:
    """True if the broker did answer, that it has no such topic."""
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause.args[0].code() == UNKNOWN_TOPIC
