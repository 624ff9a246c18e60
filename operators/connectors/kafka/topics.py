"""The registered topics in a Kafka cluster: created where they are missing, and altered where the archive needs it."""

import asyncio
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from operators.connectors.kafka.clients import BrokerAdmin
from schemas.settings.servers import BrokerSettings
from schemas.topics import TOPICS, Topic

MIN_INSYNC = "min.insync.replicas"
FEW_REPLICAS = (
    "WARNING: each record of topic {topic} is kept by {replicas} of {brokers} brokers: raise FLUORO_BROKER_TOPIC_REPLICAS for"
    " topics that are still to be made, and use kafka-reassign-partitions for this one"
)
# With fewer copies, one broker that is lost takes events with it.
SAFE_REPLICAS = 3

log = structlog.get_logger()


async def prepare_topics(settings: BrokerSettings) -> list[str]:
    """Create the registered topics that do not exist, and change what the archive cannot do without in those that do.

    Returns a line for each topic; every change is logged too. The other settings of an existing topic stay as its operator
    has chosen them. Raises Unavailable when the broker does not answer or refuses.
    """
    return await asyncio.to_thread(TopicPreparation(settings).run)


class TopicPreparation:
    """The preparation of all topics at one broker. Its methods raise Unavailable."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._client = BrokerAdmin(settings)
        self._own = {MIN_INSYNC: str(settings.topic_min_insync_replicas)}

    def run(self) -> list[str]:
        """Prepare every topic; return what was done."""
        partitions, replicas = self._settings.topic_partitions, self._settings.topic_replicas
        wanted = [NewTopic(topic.name, partitions, replicas, config=topic.config | self._own) for topic in TOPICS]
        with self._client.asking():
            created = self._client.create_topics(wanted, request_timeout=self._settings.produce_s)
        done = [self._done(topic, created[topic.name]) for topic in TOPICS]
        return [*done, *self._warnings()]

    def _done(self, topic: Topic, created: Any) -> str:
        with self._client.asking(f"creating topic {topic.name}"):
            if _is_created(created):
                return f"topic {topic.name}: made, with replication factor {self._settings.topic_replicas}"
        if changes := self._altered(topic):
            return f"topic {topic.name}: {', '.join(f'{name} is {value} now' for name, value in changes.items())}"
        return f"topic {topic.name}: is there"

    def _altered(self, topic: Topic) -> dict[str, str]:
        """Make the changes that a topic needs, and return them."""
        resource, within_s = ConfigResource(ResourceType.TOPIC, topic.name), self._settings.produce_s
        with self._client.asking(f"describing the settings of topic {topic.name}"):
            described = self._client.describe_configs([resource], request_timeout=within_s)[resource].result()
        present = {name: entry.value for name, entry in described.items()}
        changes = topic.changes_to(present)
        if int(present.get(MIN_INSYNC, 1)) < self._settings.topic_min_insync_replicas:
            changes |= self._own
        if changes:
            entries = [_setting(name, value) for name, value in changes.items()]
            changed = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
            with self._client.asking(f"altering the settings of topic {topic.name}"):
                self._client.incremental_alter_configs([changed], request_timeout=within_s)[changed].result()
            log.info("topic_altered", topic=topic.name, before={name: present.get(name) for name in changes}, **changes)
        return changes

    def _warnings(self) -> list[str]:
        """Return a line for each topic that one lost broker of a cluster can take with it."""
        within_s = self._settings.produce_s
        with self._client.asking("describing the cluster"):
            cluster = self._client.list_topics(timeout=within_s)
        brokers, known = (
            len(cluster.brokers),
            [cluster.topics[topic.name] for topic in TOPICS if topic.name in cluster.topics],
        )
        copies = {
            topic.topic: min((len(one.replicas) for one in topic.partitions.values()), default=1) for topic in known
        }
        few = [name for name, replicas in copies.items() if replicas < min(brokers, SAFE_REPLICAS)]
        return [FEW_REPLICAS.format(topic=name, replicas=copies[name], brokers=brokers) for name in few]


def _is_created(future: Any) -> bool:
    """True if the topic is new, False if it was there before; raises KafkaException."""
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True


def _setting(name: str, value: str) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
