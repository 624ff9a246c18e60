"""The flush of the catalog job: a shard's batch of events becomes rows and revisions in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from operators.catalog.changes import instance_change, study_and_series_changes
from operators.catalog.commands.decided import decided
from operators.catalog.commands.projection import StorableCommand, storable_command
from operators.catalog.conflicts import conflict_output
from operators.catalog.ports import Announcements, Catalog, CatalogTables, KnownRows
from operators.catalog.progress import (
    WENT_BACK,
    ShardMemory,
    ShardProgress,
    applied_by,
    beginning,
    divide,
    due_of,
    is_lost,
    read_memory,
)
from operators.catalog.projection import (
    StorableInstance,
    check_identifiers,
    check_numbers,
    due_row,
    policy_row,
    quarantine_row,
    storable_instance,
    transfer_row,
)
from operators.catalog.revisions import next_revision, revision_outputs
from operators.catalog.rows import (
    DueRow,
    PolicyRow,
    QuarantineRow,
    RevisionRow,
    SeriesKey,
    StudyKey,
    TopicPartition,
    TransferRow,
    WaitingDueRow,
)
from operators.errors import Rejected, Unavailable
from operators.stream.arrival import arrival
from operators.stream.dead_letter import UNFORESEEN, rejected, unforeseen
from operators.stream.newer_release import NEWER_RELEASE
from operators.stream.origin import Origin
from operators.stream.step import Flushed, Output, Record, Stop
from schemas.events import (
    Event,
    InstanceQuarantined,
    InstanceStored,
    PolicyChanged,
    StudyCataloged,
    StudyCommand,
    StudyDue,
    TransferEnded,
    event_id,
)
from schemas.topics import STUDY_CATALOGED

OPERATOR = "catalog"

# A restart of the database or a deadlock costs one attempt; a longer outage is left to the engine's back-off.
ATTEMPTS = 3

# A job that has lost its state announces every revision again: in steps, so that no flush holds a whole archive's.
ANNOUNCED_AT_ONCE = 1000

BEGINNING = Origin()
BEHIND = "the rows are behind what was committed: the database was replaced by an earlier state of itself"

Writable = StorableInstance | StorableCommand | TransferRow | QuarantineRow | PolicyRow
Entry = tuple[Record, Writable]


@dataclass
class Batch:
    """A decoded batch: the entries to write, each with its record; dues; dead letters; the studies concerned."""

    entries: list[Entry] = field(default_factory=list)
    dues: list[StudyDue] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    studies: dict[StudyKey, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """A due that was applied, and the revisions that are announced because of it."""

    due: DueRow
    revisions: tuple[RevisionRow, ...]


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
        except NEWER_RELEASE:
            raise
        except (Rejected, *UNFORESEEN) as error:
            batch.dead_letters.append(_rejected(record, error, now))
    return batch


def _rejected(record: Record, error: Exception, now: datetime) -> Output:
    reason = error.reason if isinstance(error, Rejected) else unforeseen(error)
    return rejected(record, OPERATOR, reason, now)


def _add(batch: Batch, record: Record, event: Event) -> None:
    if isinstance(event, InstanceQuarantined | PolicyChanged):
        row = quarantine_row(event) if isinstance(event, InstanceQuarantined) else policy_row(event)
        batch.entries.append((record, row))
        return
    if not isinstance(event, InstanceStored | TransferEnded | StudyCommand | StudyDue):
        raise Rejected("not-for-the-catalog")
    check_identifiers(event)
    if isinstance(event, InstanceStored):
        batch.entries.append((record, storable_instance(event)))
    elif isinstance(event, TransferEnded):
        batch.entries.append((record, transfer_row(event)))
    elif isinstance(event, StudyCommand):
        batch.entries.append((record, storable_command(event)))
    else:
        check_numbers(event)
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
    settled = [settle(tables, due, flushing.shard, now) for due in ready]
    # What a checkpoint before says: a revision that was committed after it may not have been sent.
    above = before.announced if memory.announced is None else memory.announced
    # The transaction holds the shard: no other revision can be added before it commits.
    announced = tables.announce(tuple(batch.studies), [one.due for one in settled], above, ANNOUNCED_AT_ONCE)
    cataloged = (_cataloged(study, version, now) for study, version in announced.versions.items())
    again = (row for one in settled for row in one.revisions)
    outputs += [*cataloged, *revision_outputs((*announced.revisions, *again))]
    return Flushed(_remembered(flushing, announced, above).to_bytes(), tuple(outputs))


def _ready(tables: CatalogTables, after: ShardProgress, flushing: Flushing, batch: Batch) -> list[StudyDue]:
    """Write the progress; return the dues that are ready now, each once: those of the batch, and those that waited."""
    topic_ids, arrived = flushing.origin.topic_ids, (*flushing.memory.carried.waiting, *batch.dues)
    early = [due for due in arrived if after.awaited(due, topic_ids) is not None]
    at_once, waiting = divide(arrived, after, topic_ids, tables.settled_before(early))
    rows = tables.advance(after.applied, waiting, topic_ids)
    waited = _waited(tables, rows, after, flushing)
    return list({due.event_id: due for due in (*waited, *at_once)}.values())


def _waited(
    tables: CatalogTables, rows: Sequence[WaitingDueRow], after: ShardProgress, flushing: Flushing
) -> list[StudyDue]:
    """Return the dues of rows whose wait is over; one that counts another record waits for that."""
    topic_ids = flushing.origin.topic_ids
    lost = [due_of(row) for row in rows if is_lost(row, topic_ids)]
    reached = (due_of(row) for row in rows if not is_lost(row, topic_ids))
    ready, waiting = divide(reached, after, topic_ids)
    if waiting:
        tables.put_waiting(waiting)
    return lost + ready


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
    except (Rejected, *UNFORESEEN) as error:
        if len(entries) == 1:
            return [_rejected(entries[0][0], error, now)]
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
    if policies := [row for row in writables if isinstance(row, PolicyRow)]:
        tables.put_policies(policies)
    commands = [command for command in writables if isinstance(command, StorableCommand)]
    if commands:
        _write_commands(tables, commands)
    chosen = [command.chosen for command in commands if command.chosen]
    instances = [*chosen, *(instance for instance in writables if isinstance(instance, StorableInstance))]
    deletions = {one.study_key for one in commands if one.decision and one.decision.subject == "deletion"}
    return _write_instances(tables, instances, deletions) if instances or deletions else ()


def _write_commands(tables: CatalogTables, commands: Sequence[StorableCommand]) -> None:
    """Write commands and their decisions; announce again what a new command wants to be announced."""
    rows = {(one.study_key, one.row.command_id): one.row for one in commands}
    new = tables.put_commands(tuple(rows.values()), [one.decision for one in commands if one.decision])
    for (study, command_id), row in rows.items():
        if row.action == "reprocess" and (study, command_id) in new:
            tables.announce_again(study, command_id)


def _write_instances(
    tables: CatalogTables, arrived: Sequence[StorableInstance], deletions: Collection[StudyKey]
) -> tuple[Output, ...]:
    """Write instances, and count again the studies whose deletion or restoring has arrived."""
    known = tables.known({instance.key for instance in arrived}, deletions)
    now_decided = decided(known.decisions)
    instances = (*arrived, *now_decided.chosen)
    change = instance_change(known, instances, now_decided)
    tables.put_instances(change.shown, change.lost, change.cleared)
    if deletions or now_decided.deleted:
        tables.show_instances(set(deletions) - now_decided.deleted, now_decided.deleted)
    totals = tables.series_totals(change.touched | _series_of(known, deletions))
    tables.put_studies(*study_and_series_changes(known, instances, totals, now_decided))
    return tuple(conflict_output(shown, lost) for shown, lost in change.conflicts)


def _series_of(known: KnownRows, studies: Collection[StudyKey]) -> frozenset[SeriesKey]:
    return frozenset(key for key in known.series if StudyKey(key.tenant, key.study_uid) in studies)


def settle(tables: CatalogTables, due: StudyDue, shard: int, now: datetime) -> Settled:
    """Add a revision of a due study if it shows other instances than its last one did.

    Return the due with the study's last revision, and those that it has made before: a job without state, whose rows
    cannot say what has arrived, reads the due again, and so announces every revision of the dues that it reads.
    """
    state = tables.state(StudyKey(due.tenant, due.study_uid), UUID(due.event_id))
    revision = next_revision(state, due, shard, now)
    if revision is not None:
        tables.put_revision(revision)
    last = revision or state.last
    made = [row.revision for row in (*state.made, *([revision] if revision else []))]
    return Settled(due_row(due, min(made, default=None)), (*state.made, last) if last else ())


def _cataloged(study: StudyKey, version: int, now: datetime) -> Output:
    event = StudyCataloged(
        event_id=event_id(*study, "cataloged", str(version)),
        tenant=study.tenant,
        occurred_at=now,
        study_uid=study.study_uid,
        version=version,
    )
    return Output(STUDY_CATALOGED, event)
