"""Records that expire in the broker before a job has read them: said at a start, and before it happens.

Nothing else may say it: a source whose next record has expired continues at the earliest record without a word.
"""

from collections.abc import Iterable, Mapping

import structlog

from operators.catalog.progress import COUNTED_TOPICS
from operators.catalog.rows import TopicPartition
from operators.connectors.kafka.positions import Extent, Partition
from operators.errors import Unavailable
from pipelines.jobs import CATALOG, JOBS, Job
from pipelines.launch import losses, rows
from pipelines.launch.losses import BrokerPositions
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.topics import STUDY_COMMAND

# An alarm comes when the oldest unread record is older than this share of its topic's retention.
ALARM_SHARE = 0.5
REPAIR = (
    "the objects of these events are in the store, but the catalog does not show them: have their senders send again, "
    "which publishes the events of what is stored already; no command rebuilds the catalog from the store yet"
)
REPAIR_COMMANDS = "each command is an object under _commands/ of its study: give it again under its id, which publishes its event again"

log = structlog.get_logger()


def report_expired(servers: Servers, settings: JobSettings) -> None:
    """Log for each job and topic how many records expired before the job read them. Raises Unavailable."""
    for job in JOBS:
        extents = servers.broker.extents(job.topics)
        read = positions(job, settings, servers, extents)
        for topic, count in expired_unread(read, extents).items():
            repair = REPAIR_COMMANDS if topic == STUDY_COMMAND.name else REPAIR
            log.error("records_expired_unread", job=job.name, topic=topic, records=count, repair=repair)


def positions(
    job: Job, settings: JobSettings, servers: Servers, partitions: Iterable[Partition]
) -> dict[Partition, int]:
    """Return the offset after the last record of each of these partitions that a job has read; absent if it read none.

    For the catalog job, whose database may have gone back, its rows say it: without any, its tables are empty.
    """
    committed = servers.broker.committed(job.name, partitions)
    if job != CATALOG:
        return committed
    try:
        read = rows.read_offsets(settings, servers.progress)
    except Unavailable as error:
        log.warning("progress_unknown", job=job.name, why=error.why)
        return committed
    if not read and rows.has_had_rows(settings):
        return dict.fromkeys(committed, 0)
    return {**committed, **read}


def expired_unread(read: Mapping[Partition, int], extents: Mapping[Partition, Extent]) -> dict[str, int]:
    """Return by topic how many records before the earliest ones were never read; none if the job has read nothing yet.

    A partition of which the job has read nothing may have had its first records while the job was stopped.
    """
    counts: dict[str, int] = {}
    for (topic, partition), extent in sorted(extents.items() if read else ()):
        if count := max(extent.earliest - read.get((topic, partition), 0), 0):
            counts[topic] = counts.get(topic, 0) + count
    return counts


def report_lag(broker: BrokerPositions, jobs: Iterable[Job], now_ms: int) -> None:
    """Log for each job and topic how many unread records are older than half of the retention, as the broker dated them.

    A retention lasts days, so that a clock that differs from the broker's by minutes does not matter. Raises Unavailable.
    """
    for job in jobs:
        extents = broker.extents(job.topics)
        committed = broker.committed(job.name, extents)
        for topic, retention_ms in ((each, each.retention_ms) for each in job.reads if each.retention_ms):
            at_ms = now_ms - int(retention_ms * ALARM_SHARE)
            if count := late_records(broker.offsets_at([topic.name], at_ms), committed, extents):
                hours = retention_ms * (1 - ALARM_SHARE) / 3_600_000
                log.error("job_lag_alarm", job=job.name, topic=topic.name, records=count, expire_within_hours=hours)


def late_records(
    young: Mapping[Partition, int], committed: Mapping[Partition, int], extents: Mapping[Partition, Extent]
) -> int:
    """Return how many unread records of some partitions are older than a moment, whose first record is at `young`.

    A job that has committed nothing yet has just begun.
    """
    if not committed:
        return 0
    return sum(max(at - max(committed.get(place, 0), extents[place].earliest), 0) for place, at in young.items())


def report_waiting(servers: Servers, settings: JobSettings) -> None:
    """Log how many dues wait for a record that has expired, and so perhaps for ever. Raises Unavailable.

    Dues that waited under another number of shards do not count: no flush looks at them, and the job that began again
    with this number has read them anew.
    """
    ids = losses.topic_ids(settings)
    extents = servers.broker.extents(COUNTED_TOPICS)
    firsts = {
        TopicPartition(topic, ids.get(topic, ""), partition): extent.earliest
        for (topic, partition), extent in extents.items()
    }
    if count := servers.progress.waiting(settings.shards, firsts):
        log.error("dues_wait_for_expired_records", dues=count, repair=REPAIR)
