"""The flush of the catalog job: a shard's batch of events becomes rows and revisions in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from operators.catalog.changes import instance_change, study_and_series_changes
from operators.catalog.conflicts import conflict_output
from operators.catalog.ports import Announcements, Catalog, CatalogTables
from operators.catalog.progress import (
    WENT_BACK,
    ShardMemory,
    ShardProgress,
    applied_by,
    beginning,
    due_of,
    read_memory,
    waiting_row,
)
from operators.catalog.projection import (
    StorableInstance,
    check_identifiers,
    check_partition,
    quarantine_row,
    storable_instance,
    transfer_row,
)
from operators.catalog.revisions import next_revision, revision_outputs
from operators.catalog.rows import QuarantineRow, RevisionRow, StudyKey, TopicPartition, TransferRow
from operators.errors import Rejected, Unavailable
from operators.stream.arrival import arrival
from operators.stream.dead_letter import rejected
from operators.stream.origin import Origin
from operators.stream.step import Flushed, Output, Record, Stop
from schemas.events import (
    Event,
    InstanceQuarantined,
    InstanceStored,
    StudyCataloged,
    StudyDue,
    TransferEnded,
    event_id,
)
from schemas.topics import INSTANCE_STORED, STUDY_CATALOGED

OPERATOR = "catalog"

# A restart of the database or a deadlock costs one attempt; a longer outage is left to the engine's back-off.
ATTEMPTS = 3

# A job that has lost its state announces every revision again: in steps, so that no flush holds a whole archive's.
ANNOUNCED_AT_ONCE = 1000

BEGINNING = Origin()
BEHIND = "the rows are behind what was committed: the database was replaced by an earlier state of itself"

Writable = StorableInstance | TransferRow | QuarantineRow
Entry = tuple[Record, Writable]


@dataclass
class Batch:
    """A decoded batch: the entries to write, each with its record; dues; dead letters; the studies concerned."""

    entries: list[Entry] = field(default_factory=list)
    dues: list[StudyDue] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    studies: dict[StudyKey, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Flushing:
    """One flush: its shard, what the state remembers of it, the offsets that the batch applies, and the time."""

    shard: int
    memory: ShardMemory
    applied: Mapping[TopicPartition, int]
    origin: Origin
    now: datetime


def flush(  # noqa: PLR0913  the engine gives the first four after the catalog
    catalog: Catalog,
    shard: int,
    head: bytes | None,
    records: tuple[Record, ...],
    now: float,
    *,
    origin: Origin = BEGINNING,
) -> Flushed:
    """Write a shard's batch and settle the studies that are due; `head` is the shard's memory, None at first.

    `origin` is where the records come from. Flushing a batch again changes no row and returns the same events. When the
    database was replaced by an earlier state of itself, nothing is written, and the result is a stop. Raises
    Unavailable when the database cannot answer, UnknownSchema for an event and UnknownState for a memory of a newer
    writer, ValueError for a memory that cannot be read.
    """
    at = datetime.fromtimestamp(now, UTC)
    batch = sort_out(records, at)
    memory = beginning(origin, shard) if head is None else read_memory(head, origin.topic_ids)
    flushing = Flushing(shard, memory, applied_by(records, origin.topic_ids), origin, at)
    for _ in range(ATTEMPTS - 1):
        try:
            return _commit(catalog, flushing, batch)
        except Unavailable:
            continue
    return _commit(catalog, flushing, batch)


def sort_out(records: Sequence[Record], now: datetime) -> Batch:
    """Decode a batch; a record that can never be written becomes a dead letter."""
    batch = Batch()
    for record in records:
        try:
            _add(batch, record, arrival(record).event)
        except Rejected as error:
            batch.dead_letters.append(rejected(record, OPERATOR, error.reason, now))
    return batch


def _add(batch: Batch, record: Record, event: Event) -> None:
    if isinstance(event, InstanceQuarantined):
        batch.entries.append((record, quarantine_row(event)))
        return
    if not isinstance(event, InstanceStored | TransferEnded | StudyDue):
        raise Rejected("not-for-the-catalog")
    check_identifiers(event)
    if isinstance(event, InstanceStored):
        batch.entries.append((record, storable_instance(event)))
    elif isinstance(event, TransferEnded):
        batch.entries.append((record, transfer_row(event)))
    else:
        check_partition(event)
        batch.dues.append(event)
    if event.study_uid is not None:
        batch.studies[StudyKey(event.tenant, event.study_uid)] = None


def _commit(catalog: Catalog, flushing: Flushing, batch: Batch) -> Flushed:
    memory = flushing.memory
    with catalog.transaction(flushing.shard) as tables:
        before = tables.progress()
        if memory.is_ahead_of(before):
            tables.raise_versions(memory.sent)
            tables.note_went_back(memory.applied, memory.announced)
            return Flushed(memory.to_bytes(), stop=Stop(WENT_BACK, BEHIND))
        return _written(tables, before, flushing, batch)


def _written(tables: CatalogTables, before: ShardProgress, flushing: Flushing, batch: Batch) -> Flushed:
    memory, now = flushing.memory, flushing.now
    outputs = [*batch.dead_letters, *_write_or_reject(tables, batch.entries, now)]
    after = before.advanced(memory.carried.applied).advanced(flushing.applied)
    ready = _ready(tables, after, flushing, batch)
    again = [row for due in ready for row in settle(tables, due, flushing.shard, now)]
    # What a checkpoint before says: a revision that was committed after it may not have been sent.
    above = before.announced if memory.announced is None else memory.announced
    # The transaction holds the shard: no other revision can be added before it commits.
    settled = [UUID(due.event_id) for due in ready]
    announced = tables.announce(tuple(batch.studies), settled, above, ANNOUNCED_AT_ONCE)
    cataloged = (_cataloged(study, version, now) for study, version in announced.versions.items())
    outputs += [*cataloged, *revision_outputs((*announced.revisions, *again))]
    return Flushed(_remembered(flushing, announced, above).to_bytes(), tuple(outputs))


def _ready(tables: CatalogTables, after: ShardProgress, flushing: Flushing, batch: Batch) -> list[StudyDue]:
    """Write the progress; return the dues that are ready now, each once: those of the batch, and those that waited."""
    topic_ids, arrived = flushing.origin.topic_ids, (*flushing.memory.carried.waiting, *batch.dues)
    waiting = [waiting_row(due, topic_ids) for due in arrived if not after.is_ready(due, topic_ids)]
    rows = tables.advance(after.applied, waiting, topic_ids.get(INSTANCE_STORED.name, ""))
    at_once = [due for due in arrived if after.is_ready(due, topic_ids)]
    return list({due.event_id: due for due in (*map(due_of, rows), *at_once)}.values())


def _remembered(flushing: Flushing, announced: Announcements, above: int) -> ShardMemory:
    revisions = [row.version for row in announced.revisions]
    sent = max((0, *announced.versions.values(), *revisions))
    return flushing.memory.after(flushing.applied, max((above, *revisions)), sent)


def _write_or_reject(tables: CatalogTables, entries: Sequence[Entry], now: datetime) -> list[Output]:
    """Write the entries that the database accepts; return the events of conflicts, and dead letters for the others.

    Entries that are refused together are halved until the faulty one is found.
    """
    if not entries:
        return []
    try:
        with tables.savepoint():
            return list(write(tables, [writable for _, writable in entries]))
    except Rejected as error:
        if len(entries) == 1:
            return [rejected(entries[0][0], OPERATOR, error.reason, now)]
        middle = len(entries) // 2
        first = _write_or_reject(tables, entries[:middle], now)
        return first + _write_or_reject(tables, entries[middle:], now)


def write(tables: CatalogTables, writables: Sequence[Writable]) -> tuple[Output, ...]:
    """Write rows and the rows counted from them; return the event of every conflict that they are part of, new or not.

    Old conflicts are returned too, so that a crash between commit and sending loses no event: the batch comes again and
    finds its conflicts in the rows.
    """
    if transfers := [row for row in writables if isinstance(row, TransferRow)]:
        tables.put_transfers(transfers)
    if quarantined := [row for row in writables if isinstance(row, QuarantineRow)]:
        tables.put_quarantine(quarantined)
    instances = [instance for instance in writables if isinstance(instance, StorableInstance)]
    return _write_instances(tables, instances) if instances else ()


def _write_instances(tables: CatalogTables, instances: Sequence[StorableInstance]) -> tuple[Output, ...]:
    known = tables.known({instance.key for instance in instances})
    change = instance_change(known, instances)
    tables.put_instances(change.shown, change.lost, change.cleared)
    tables.put_studies(*study_and_series_changes(known, instances, tables.series_totals(change.touched)))
    return tuple(conflict_output(shown, lost) for shown, lost in change.conflicts)


def settle(tables: CatalogTables, due: StudyDue, shard: int, now: datetime) -> tuple[RevisionRow, ...]:
    """Add a revision of a due study if it shows other instances than its last one did.

    Return the study's last revision, and those that this due has made before: a job without state, whose rows cannot
    say what has arrived, reads the due again, and so announces every revision of the dues that it reads.
    """
    state = tables.state(StudyKey(due.tenant, due.study_uid), UUID(due.event_id))
    revision = next_revision(state, due, shard, now)
    if revision is not None:
        tables.put_revision(revision)
    last = revision or state.last
    return (*state.made, last) if last else ()


def _cataloged(study: StudyKey, version: int, now: datetime) -> Output:
    event = StudyCataloged(
        event_id=event_id(*study, "cataloged", str(version)),
        tenant=study.tenant,
        occurred_at=now,
        study_uid=study.study_uid,
        version=version,
    )
    return Output(STUDY_CATALOGED, event)
