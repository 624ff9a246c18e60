"""Where the topics of an archive begin and end, and how far its jobs have read them, as the broker says."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import Consumer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from tests.audit.checks.accounting import READ
from tests.audit.snapshot import Positions

ANSWER_S = 30
Offsets = Mapping[tuple[str, int], int]
# By topic, topic id and partition: the last offset that the catalog's rows name.
Applied = Mapping[tuple[str, str, int], int]


@dataclass(frozen=True)
class Commits:
    """The offsets that each job's group had committed at a time (Unix seconds)."""

    at: float
    offsets: Mapping[str, Offsets]


class Broker:
    """What the broker says of topics and of the groups of jobs; it must be entered."""

    def __init__(self, bootstrap: str) -> None:
        config = {"bootstrap.servers": bootstrap, "logger": None}
        self._admin = AdminClient(config)
        self._groups = {job: Consumer({**config, "group.id": job, "enable.auto.commit": False}) for job in READ}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for consumer in self._groups.values():
            consumer.close()

    def commits(self, partitions: Collection[tuple[str, int]]) -> Commits:
        """Return what each job has committed; asked for before the topics are read, it is never beyond their ends."""
        now = time.time()
        read = {job: [one for one in partitions if one[0] in topics] for job, topics in READ.items()}
        return Commits(now, {job: self._committed(job, places) for job, places in read.items()})

    def positions(self, ends: Offsets, applied: Applied | None, commits: Commits) -> Positions:
        """Return the positions in partitions that were read up to these ends, after `commits` were asked for."""
        topics = sorted({topic for topic, _ in ends})
        begins, configs = self._begins(ends.keys()), self._configs(topics)
        return Positions(
            spans={partition: (begins[partition], end) for partition, end in ends.items()},
            applied=None if applied is None else of_present_topics(applied, self._topic_ids(topics)),
            committed=commits.offsets,
            kept_since={topic: commits.at - kept_s(one) for topic, one in configs.items()},
            compacted=frozenset(topic for topic, one in configs.items() if is_compacted(one)),
            taken_at=commits.at,
        )

    def _begins(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(*one): OffsetSpec.earliest() for one in partitions}
        found = self._admin.list_offsets(asked, request_timeout=ANSWER_S) if asked else {}
        return {(place.topic, place.partition): future.result().offset for place, future in found.items()}

    def _configs(self, topics: Collection[str]) -> dict[str, Mapping[str, Any]]:
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        found = self._admin.describe_configs(asked, request_timeout=ANSWER_S) if asked else {}
        return {topic.name: future.result() for topic, future in found.items()}

    def _topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return each topic's id; a topic that was deleted and created again has a new one."""
        asked = self._admin.describe_topics(TopicCollection(topics), request_timeout=ANSWER_S) if topics else {}
        return {name: str(future.result().topic_id) for name, future in asked.items()}

    def _committed(self, job: str, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offsets that a job's group has committed; none where it never did."""
        found = self._groups[job].committed([TopicPartition(*one) for one in partitions], timeout=ANSWER_S)
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}


def kept_s(settings: Mapping[str, Any]) -> float:
    """Return for how many seconds a topic's records are kept at least; of a compacted topic the last of each key."""
    milliseconds = int(settings["retention.ms"].value)
    return float("inf") if milliseconds < 0 or is_compacted(settings) else milliseconds / 1000


def is_compacted(settings: Mapping[str, Any]) -> bool:
    """True if a topic keeps the last record of each key alone."""
    return "compact" in settings["cleanup.policy"].value


def of_present_topics(applied: Applied, ids: Mapping[str, str]) -> dict[tuple[str, int], int]:
    """Return the offsets in topics that are there, by topic and partition."""
    return {
        (topic, partition): offset for (topic, an_id, partition), offset in applied.items() if ids.get(topic) == an_id
    }
