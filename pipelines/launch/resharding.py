"""The number of the catalog job's shards: what refuses a start under another number, and the change of the number.

Each number of shards divides the records otherwise, so neither the job's checkpoints nor its progress in the catalog's
rows can be read under another one. A change gives the progress to the new shards, and lets the job begin there without
its checkpoints.
"""

from collections.abc import Mapping

from operators.catalog.ports import CatalogProgress
from operators.catalog.progress import furthest_number, numbers_of_shards, starting_offsets
from operators.catalog.rows import AppliedOffsetRow, TopicPartition
from operators.connectors.kafka.positions import Partition
from operators.errors import Unavailable
from pipelines.jobs import CATALOG, Job
from pipelines.launch import checkpoints, losses
from pipelines.launch.checkpoints import RESHARD, OtherState, folder_of
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError


class NothingToReshard(RuntimeError):
    """No job has written into the catalog, so any number of shards may be set."""


def check_parallelism(job: Job, settings: JobSettings) -> None:
    """Raise SettingsError when a job would have fewer shards than subtasks."""
    if job.has_shards and settings.shards < settings.parallelism:
        raise SettingsError(
            f"FLUORO_JOB_SHARDS: {settings.shards} is less than the parallelism {settings.parallelism} of job {job.name}, "
            f"each of whose subtasks writes whole shards: lower the parallelism, or set several times as many shards (if "
            f"the job has run before, with: {RESHARD} {min(4 * settings.parallelism, 128)})"
        )


def check_shards(job: Job, settings: JobSettings, progress: CatalogProgress) -> None:
    """Raise OtherState when the catalog's rows have the job's progress under other numbers of shards only.

    A catalog that does not answer is not asked again: the job waits for it, and its checkpoints say the number too.
    """
    if job != CATALOG or losses.is_marked(job, settings):
        return
    try:
        numbers = numbers_of_shards(progress.applied())
    except Unavailable:
        return
    if numbers and settings.shards not in numbers:
        raise OtherState(
            f"FLUORO_JOB_SHARDS: the catalog was written with {_list(numbers)} shards, not {settings.shards}: set "
            f"{_list(numbers)}; or, while job {job.name} does not run, change it: {RESHARD} {settings.shards}"
        )


def reshard(shards: int, settings: JobSettings, servers: Servers) -> frozenset[int]:
    """Move the job's progress to this many shards; return the numbers of shards of before. No catalog job may run.

    A second call changes nothing. Raises NothingToReshard, and Unavailable.
    """
    applied = servers.progress.applied()
    before = numbers_of_shards(applied)
    if not before:
        raise NothingToReshard
    if before != {shards}:
        servers.progress.reshard(shards, _applied_everywhere(applied, settings, servers))
    checkpoints.set_others_aside(folder_of(CATALOG, settings.with_shards(shards)))
    return before


def leave_state(settings: JobSettings, servers: Servers) -> None:
    """Have the catalog job begin at the offsets of its rows, without the checkpoints that it cannot read.

    It must not run. A release from before these rows left none: the job then reads everything that the topics keep.
    Raises Unavailable.
    """
    applied = servers.progress.applied()
    if numbers_of_shards(applied):
        servers.progress.reshard(settings.shards, _applied_everywhere(applied, settings, servers))
    checkpoints.set_others_aside(folder_of(CATALOG, settings))


def _applied_everywhere(
    applied: tuple[AppliedOffsetRow, ...], settings: JobSettings, servers: Servers
) -> dict[TopicPartition, int]:
    """Return the offsets up to which every shard of before has applied its records, and has surely sent its events."""
    ids = servers.broker.topic_ids(CATALOG.topics)
    number = furthest_number(applied, ids)
    buffered = number * settings.batch_records
    offsets = starting_offsets(applied, number, ids)
    begins = _begins(offsets, servers.broker.committed(CATALOG.name, offsets), buffered)
    places = {TopicPartition(row.topic, row.topic_id, row.partition) for row in applied if row.shards == number}
    present = [place for place in places if ids.get(place.topic) == place.topic_id]
    return {place: begins.get((place.topic, place.partition), 0) - 1 for place in present}


def _begins(
    offsets: Mapping[Partition, int], committed: Mapping[Partition, int], buffered: int
) -> dict[Partition, int]:
    """Return the offset at which the job begins in each partition.

    A job that was killed may have committed rows after its last checkpoint whose events it has not sent. Those were
    made of later records, or of records that an earlier release had buffered in the state of that checkpoint: it begins
    at the checkpoint's offsets, less what such buffers may hold.
    """
    return {place: max(min(at, committed.get(place, 0) - buffered), 0) for place, at in offsets.items()}


def _list(numbers: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))
