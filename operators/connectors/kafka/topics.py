"""The registered topics in a Kafka cluster: created where they are missing, and altered where the archive needs it."""

import asyncio
from collections.abc import Iterable
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
from schemas.topics import PARTITIONS, TOPICS, Topic

log = structlog.get_logger()


async def prepare_topics(settings: BrokerSettings, partitions: int = PARTITIONS, replication: int = 1) -> None:
    """Create the registered topics that do not exist, and change what the archive cannot do without in those that do.

    Every change is logged; the other settings of an existing topic stay as its operator has chosen them. Raises
    Unavailable when the broker does not answer or refuses.
    """
    client = BrokerAdmin(settings)
    wanted = [NewTopic(topic.name, partitions, replication, config=topic.config) for topic in TOPICS]
    with client.asking():
        created = client.create_topics(wanted, request_timeout=settings.produce_s)
        existing = [topic for topic in TOPICS if not await asyncio.to_thread(_is_created, created[topic.name])]
        await asyncio.to_thread(_alter, client, existing, settings.produce_s)


def _is_created(future: Any) -> bool:
    """True if the topic is new, False if it was there before; raises KafkaException."""
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True


def _alter(client: BrokerAdmin, topics: Iterable[Topic], within_s: float) -> None:
    """Make the changes that these topics need; raises KafkaException."""
    resources = {topic: ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics}
    if not resources:
        return
    described = client.describe_configs([*resources.values()], request_timeout=within_s)
    for topic, resource in resources.items():
        present = {name: entry.value for name, entry in described[resource].result().items()}
        if changes := topic.changes_to(present):
            entries = [_setting(name, value) for name, value in changes.items()]
            changed = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
            client.incremental_alter_configs([changed], request_timeout=within_s)[changed].result()
            log.info("topic_altered", topic=topic.name, before={name: present.get(name) for name in changes}, **changes)


def _setting(name: str, value: str) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
