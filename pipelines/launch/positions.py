"""Whether the broker still is the one that the jobs' state speaks of."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from operators.connectors.kafka.positions import Extent, Partition, Positions
from pipelines.engines.flink import Job

IDS = "topics.json"


def losses(positions: Positions, jobs: Iterable[Job], folder: Path) -> list[str]:
    """Say, a line each, what the broker lost that the jobs' state has seen: then every job begins again without it.

    Raises Unavailable when the broker does not answer.
    """
    jobs = tuple(jobs)
    topics = {topic.name for job in jobs for topic in job.reads}
    found = _other_ids(_read(folder / IDS), positions.topic_ids(topics))
    extents = positions.extents(topics)
    for job in jobs:
        found += [f"job {job.name}: {line}" for line in out_of_range(positions.committed(job.name), extents)]
    return found


def remember(positions: Positions, jobs: Iterable[Job], folder: Path) -> None:
    """Keep the topics' ids beside the checkpoints that now begin."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = (folder / IDS).with_suffix(".partial")
    partial.write_text(json.dumps(positions.topic_ids({topic.name for job in jobs for topic in job.reads})))
    partial.rename(folder / IDS)


def out_of_range(committed: Mapping[Partition, int], extents: Mapping[Partition, Extent]) -> list[str]:
    """List the partitions that end before what was committed: their tail is lost.

    What the broker dropped at the other end has expired; the state still holds, and the source goes on at the earliest.
    """
    found = []
    for (topic, partition), offset in sorted(committed.items()):
        extent = extents.get((topic, partition))
        if extent is not None and offset > extent.end:
            found.append(f"{topic}/{partition} was read up to {offset}, the broker has {extent.earliest}-{extent.end}")
    return found


def _other_ids(known: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{topic} is another topic of that name" for topic in sorted(now) if known.get(topic, now[topic]) != now[topic]
    ]


def _read(path: Path) -> dict[str, str]:
    ids: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return ids
