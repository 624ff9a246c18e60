"""Finding records that the broker has lost: a job must not continue from state that includes them.

A broker that was emptied, or that came back without its newest records, gives their offsets to other records. A job
that continued from its state would skip those as already read. So every job begins again without its state, at the
earliest record.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import structlog

from operators.catalog.ports import CatalogProgress
from operators.connectors.kafka.positions import Extent, Partition
from pipelines.jobs import CATALOG, JOBS, Job
from pipelines.launch import checkpoints
from schemas.settings.jobs import JobSettings

TOPIC_IDS = "topics.json"

log = structlog.get_logger()


class StateLost(RuntimeError):
    """The caller has named a state for a job that must begin again without state."""


class BrokerPositions(Protocol):
    """The positions in a broker, as the guard reads them.

    Every method raises Unavailable when the broker does not answer in time. The methods are called before jobs start, while the broker may still be starting. Records may be appended between two calls, so two answers
    need not agree.
    """

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return each topic's id; a topic that was deleted and created again has a new id."""
        ...

    def extents(self, topics: Iterable[str]) -> dict[Partition, Extent]:
        """Return the extent of every partition of these topics."""
        ...

    def offsets_at(self, topics: Iterable[str], at_ms: int) -> dict[Partition, int]:
        """Return the offset of each partition's first record of this moment (Unix ms) or later, or else its end."""
        ...

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that a group has committed in these partitions; empty for a group that never committed."""
        ...

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Set the offsets that a group, which no job uses now, has committed in these partitions."""
        ...


def guard(broker: BrokerPositions, settings: JobSettings) -> None:
    """Mark every job to begin again, if the broker has lost records that are in the state of any job.

    The marks are files beside the checkpoints. Each takes effect at the next start of its job, with the other jobs or
    alone. A job that has begun again is marked a second time if the group of another job, which has not, is still beyond
    the broker's end; it then reads everything a second time. Raises Unavailable.
    """
    settings.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    ids = broker.topic_ids(_topics())
    lost = losses(broker, settings.checkpoint_dir, ids)
    for line in lost:
        log.error("broker_lost_records", what=line)
    for job in JOBS if lost else ():
        _mark_of(job, settings).touch()
    _write_ids(ids, settings.checkpoint_dir)


def topic_ids(settings: JobSettings) -> dict[str, str]:
    """Return the ids that the topics had when guard() was called last."""
    return _read_ids(settings.checkpoint_dir / TOPIC_IDS)


def is_marked(job: Job, settings: JobSettings) -> bool:
    """True if a job must begin again without state."""
    return _mark_of(job, settings).exists()


def begin_again_if_marked(job: Job, settings: JobSettings, progress: CatalogProgress, broker: BrokerPositions) -> None:
    """Set a job's state aside if the job is marked, so that it begins at the earliest record.

    The catalog's progress in its rows is forgotten too, since its offsets name other records now, and what the job's group
    has committed beyond the broker's end: a partition in which nothing new comes would mark every start. Raises Unavailable.
    """
    if is_marked(job, settings):
        if job == CATALOG:
            progress.forget()
        reason = "the broker lost records that are in the jobs' state"
        log.error("job_begins_again", job=job.name, reason=reason, verify="needed")
        checkpoints.set_aside(checkpoints.folder_of(job, settings))
        _forget_lost(job, broker)
        _mark_of(job, settings).unlink()


def losses(broker: BrokerPositions, folder: Path, ids: Mapping[str, str]) -> list[str]:
    """Return a line for each loss of records that are in the state of the jobs. Raises Unavailable.

    `ids` has the present ids of the topics.
    """
    found = _recreated_topics(_read_ids(folder / TOPIC_IDS), ids)
    extents = broker.extents(_topics())
    for job in JOBS:
        committed = broker.committed(job.name, extents)
        found += [f"job {job.name}: {line}" for line in out_of_range(committed, extents)]
    return found


def _forget_lost(job: Job, broker: BrokerPositions) -> None:
    extents = broker.extents(job.topics)
    committed = broker.committed(job.name, extents)
    beyond = {place: extents[place].earliest for place, offset in committed.items() if offset > extents[place].end}
    if beyond:
        broker.commit(job.name, beyond)


def out_of_range(committed: Mapping[Partition, int], extents: Mapping[Partition, Extent]) -> list[str]:
    """Return a line for each partition that ends before the committed offset: its newest records are lost.

    Records before the earliest offset have expired, which another module says: the state is still valid, and the source
    continues at the earliest record.
    """
    found = []
    for (topic, partition), offset in sorted(committed.items()):
        extent = extents.get((topic, partition))
        if extent is not None and offset > extent.end:
            found.append(f"{topic}/{partition} was read up to {offset}, the broker has {extent.earliest}-{extent.end}")
    return found


def _write_ids(ids: Mapping[str, str], folder: Path) -> None:
    """Write the topics' ids beside the checkpoints, for the next start to compare."""
    # Under a unique name, because several scripts may start their jobs at the same time.
    partial = folder / f"{TOPIC_IDS}.{uuid4().hex}"
    partial.write_text(json.dumps(ids))
    partial.rename(folder / TOPIC_IDS)


def _topics() -> set[str]:
    return {topic for job in JOBS for topic in job.topics}


def _recreated_topics(known: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [topic for topic in sorted(now) if known.get(topic, now[topic]) != now[topic]]
    return [f"{topic} was deleted and created again" for topic in changed]


def _read_ids(path: Path) -> dict[str, str]:
    ids: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return ids


def _mark_of(job: Job, settings: JobSettings) -> Path:
    return settings.checkpoint_dir / f"{job.name}.begins-again"
