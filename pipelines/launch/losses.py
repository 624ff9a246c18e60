"""What the broker has lost: a job must not go on from state that has seen records which the broker no longer has.

Such a broker was emptied, or came back without its newest records. Its offsets are given to other records, which a job
that went on would take for those that it has read. So every job begins again without its state, at the earliest record.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import structlog

from operators.connectors.kafka.positions import Extent, Partition
from pipelines.jobs import JOBS, Job
from pipelines.launch import checkpoints
from schemas.settings.jobs import JobSettings

IDS = "topics.json"

log = structlog.get_logger()


class StateLost(RuntimeError):
    """A job was given a state to go on from, and must begin again without state."""


class BrokerPositions(Protocol):
    """The positions in a broker, as the guard reads them.

    Every method raises Unavailable when the broker does not answer in time. The methods are called before jobs start,
    while the broker may be starting too. Their answers are of different moments: records may be appended between two
    calls. Nothing is written.
    """

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return each topic's id, which a topic that was deleted and made again does not keep."""
        ...

    def extents(self, topics: Iterable[str]) -> dict[Partition, Extent]:
        """Return the earliest and end offsets of each partition of these topics."""
        ...

    def committed(self, group: str) -> dict[Partition, int]:
        """Return the offsets that a group has committed; none for a group that never committed."""
        ...


def guard(broker: BrokerPositions, settings: JobSettings) -> None:
    """Mark every job to begin again if the broker lost records that the state of any job has seen.

    The marks are files beside the checkpoints: each is obeyed when its job starts next, be it together with the
    others or alone. A job whose mark was obeyed may be marked once more while the group of another is still beyond the
    broker's end; it then reads everything once more. Raises Unavailable.
    """
    settings.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    lost = losses(broker, settings.checkpoint_dir)
    for line in lost:
        log.error("broker_lost_records", what=line)
    for job in JOBS if lost else ():
        _mark(job, settings).touch()
    _remember(broker, settings.checkpoint_dir)


def is_marked(job: Job, settings: JobSettings) -> bool:
    """True if a job must begin again without state."""
    return _mark(job, settings).exists()


def begin_again_if_marked(job: Job, settings: JobSettings) -> None:
    """Set a marked job's state aside, so that the job begins at the earliest record."""
    if is_marked(job, settings):
        reason = "the broker lost records that the jobs' state has seen"
        log.error("job_begins_again", job=job.name, reason=reason, verify="needed")
        checkpoints.set_aside(checkpoints.folder_of(job, settings))
        _mark(job, settings).unlink()


def losses(broker: BrokerPositions, folder: Path) -> list[str]:
    """Describe, a line each, what the broker lost that the state of the jobs has seen. Raises Unavailable."""
    topics = _topics()
    found = _other_ids(_read(folder / IDS), broker.topic_ids(topics))
    extents = broker.extents(topics)
    for job in JOBS:
        found += [f"job {job.name}: {line}" for line in out_of_range(broker.committed(job.name), extents)]
    return found


def out_of_range(committed: Mapping[Partition, int], extents: Mapping[Partition, Extent]) -> list[str]:
    """Describe the partitions that end before the committed offset: their newest records are lost.

    Records that are missing before the earliest offset have expired: the state still holds, and the source goes on at
    the earliest.
    """
    found = []
    for (topic, partition), offset in sorted(committed.items()):
        extent = extents.get((topic, partition))
        if extent is not None and offset > extent.end:
            found.append(f"{topic}/{partition} was read up to {offset}, the broker has {extent.earliest}-{extent.end}")
    return found


def _remember(broker: BrokerPositions, folder: Path) -> None:
    """Write the topics' ids beside the checkpoints that now begin."""
    # A name of its own: several scripts may start their jobs at once.
    partial = folder / f"{IDS}.{uuid4().hex}"
    partial.write_text(json.dumps(broker.topic_ids(_topics())))
    partial.rename(folder / IDS)


def _topics() -> set[str]:
    return {topic.name for job in JOBS for topic in job.reads}


def _other_ids(known: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [topic for topic in sorted(now) if known.get(topic, now[topic]) != now[topic]]
    return [f"{topic} was deleted and made again" for topic in changed]


def _read(path: Path) -> dict[str, str]:
    ids: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return ids


def _mark(job: Job, settings: JobSettings) -> Path:
    return settings.checkpoint_dir / f"{job.name}.begins-again"
