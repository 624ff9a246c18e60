"""Starting the catalog job at the offsets of its rows, when its database was replaced by an earlier state of itself.

The flush of a shard notices it, and notes it in the rows. A shard without new records does not flush, so the launcher
compares the rows with the offsets that the job's group has committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operators.catalog.ports import CatalogProgress
from operators.catalog.progress import read_positions, starting_offsets
from operators.connectors.kafka.positions import Extent, Partition
from operators.errors import Unavailable
from operators.stream.origin import Origin
from pipelines.jobs import CATALOG, Job
from pipelines.launch import losses
from pipelines.launch.losses import BrokerPositions
from schemas.settings.jobs import JobSettings

# A job that runs has applied its batches long before.
BEHIND_S = 30.0
# The file that says that this job's offsets are in the rows: where none are left, the database is another one.
HAD_ROWS = "catalog.had-rows"


@dataclass(frozen=True)
class Servers:
    """The servers that know how far the jobs are: the broker, and the catalog."""

    broker: BrokerPositions
    progress: CatalogProgress


@dataclass(frozen=True)
class Suspicion:
    """The offsets at which rows seem to be behind the job's group, and since when, by a clock of seconds."""

    positions: Mapping[Partition, int]
    since: float


def has_gone_back(job: Job, settings: JobSettings, progress: CatalogProgress) -> bool:
    """True if a flush has noted that rows are behind; a catalog that does not answer is asked by the next flush."""
    try:
        return job == CATALOG and bool(progress.went_back(settings.shards))
    except Unavailable:
        return False


def origin_at_rows(job: Job, settings: JobSettings, servers: Servers) -> Origin:
    """Return the origin of a job that begins at the offsets of its rows. Raises Unavailable.

    It begins at its group's offsets where these are lower: rows of an earlier run may be ahead, whose events are not
    known to have been sent. A partition that lacks rows is read from 0, and so from its earliest record; that record's
    offset would claim that all records before it are in the rows of each shard.
    """
    ids = losses.topic_ids(settings)
    offsets = starting_offsets(servers.progress.applied(), settings.shards, ids)
    extents = servers.broker.extents(job.topics)
    begun = {place: offsets.get(place, 0) for place in extents}
    committed = servers.broker.committed(job.name, extents)
    lower = {place: min(offset, committed.get(place, offset)) for place, offset in begun.items()}
    return Origin(ids, lower, announced(settings.shards, servers.progress))


def announced(shards: int, progress: CatalogProgress) -> dict[int, int]:
    """Return for each shard the version up to which its revisions were announced. Raises Unavailable.

    A shard that has noted that its rows are behind has lowered that version to what its run has sent. It stops the job,
    so another shard may not have flushed since a kill, and its rows may have a revision that was never sent: all of its
    revisions are announced again. If no shard has noted anything, the job has run for BEHIND_S and sent everything. A
    shard without a version has announced nothing, and its first flush notes one before its events have arrived: it is
    0 here, so that each start of the job announces them.
    """
    by_rows, noted = progress.announced(shards), progress.went_back(shards)
    return {shard: 0 if noted and shard not in noted else by_rows.get(shard, 0) for shard in range(shards)}


def suspicion(before: Suspicion | None, settings: JobSettings, servers: Servers, now: float) -> Suspicion | None:
    """Return the suspicion that the rows are behind the records that the catalog job has read; None without one.

    It is as old as `before` if the rows have not moved. A job that goes on from the state of an earlier release has the
    rows of a shard from the first flush of that shard on, and is not suspected before all shards have some. Raises
    Unavailable.
    """
    applied = servers.progress.applied()
    if not has_had_rows(settings):
        if len({row.shard for row in applied if row.shards == settings.shards}) < settings.shards:
            return None
        note_rows(settings)
    read = read_positions(applied, losses.topic_ids(settings))
    extents = servers.broker.extents(CATALOG.topics)
    behind = positions_behind(read, servers.broker.committed(CATALOG.name, extents), extents)
    if not behind:
        return None
    return before if before and before.positions == behind else Suspicion(behind, now)


def read_offsets(settings: JobSettings, progress: CatalogProgress) -> dict[Partition, int]:
    """Return the offset after the last record of each partition that is in the rows. Raises Unavailable."""
    return read_positions(progress.applied(), losses.topic_ids(settings))


def note_rows(settings: JobSettings) -> None:
    """Note that the offsets of what the catalog job has read are in the rows: it has some, or began without state."""
    settings.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    _had_rows(settings).touch()


def has_had_rows(settings: JobSettings) -> bool:
    """True if the catalog has had rows of progress: without any, its database is another one now."""
    return _had_rows(settings).exists()


def is_certain(suspected: Suspicion | None, settings: JobSettings, now: float) -> bool:
    """True if a suspicion is older than any batch of a job that runs."""
    return suspected is not None and now - suspected.since > BEHIND_S + settings.batch_s


def positions_behind(
    read: Mapping[Partition, int], committed: Mapping[Partition, int], extents: Mapping[Partition, Extent]
) -> dict[Partition, int]:
    """Return the rows' offsets of partitions with records that the group has read and the rows do not have."""
    return {
        place: read.get(place, 0)
        for place, offset in committed.items()
        if place in extents and min(offset, extents[place].end) > max(read.get(place, 0), extents[place].earliest)
    }


def _had_rows(settings: JobSettings) -> Path:
    return settings.checkpoint_dir / HAD_ROWS
