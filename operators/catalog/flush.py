"""The catalog: a shard's batch of events becomes rows in one transaction, due studies become revisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from operators.catalog import conflicts, progress
from operators.catalog.changes import derived_change, instance_change
from operators.catalog.ports import Catalog, CatalogTables
from operators.catalog.progress import Head
from operators.catalog.projection import Arrived, arrived, check_names, check_place, quarantine_row, transfer_row
from operators.catalog.revisions import announcements, next_revision
from operators.catalog.rows import QuarantineRow, RevisionRow, StudyKey, TransferRow
from operators.errors import Rejected, Unavailable
from operators.stream.arrival import arrival
from operators.stream.dead_letter import rejected
from operators.stream.step import Flushed, Output, Record
from schemas.events import (
    Event,
    InstanceQuarantined,
    InstanceStored,
    StudyCataloged,
    StudyDue,
    TransferEnded,
    event_id,
)
from schemas.topics import STUDY_CATALOGED

OPERATOR = "catalog"

# A restarted database or a deadlock costs one attempt; what lasts longer is for the engine's back-off.
ATTEMPTS = 3

# A state that was lost announces everything again: in steps, so that no flush holds a whole archive.
ANNOUNCED_AT_ONCE = 1000

Written = Arrived | TransferRow | QuarantineRow
Entry = tuple[Record, Written]


@dataclass
class Batch:
    """Records sorted out: rows to write with their records, dues, dead letters, and the studies all are about."""

    entries: list[Entry] = field(default_factory=list)
    dues: list[StudyDue] = field(default_factory=list)
    refused: list[Output] = field(default_factory=list)
    studies: dict[StudyKey, None] = field(default_factory=dict)


def flush(catalog: Catalog, shard: int, head: bytes | None, records: tuple[Record, ...], now: float) -> Flushed:
    """Write a shard's batch and settle what is due; the same batch again changes nothing and says the same.

    Raises Unavailable when the database cannot answer, UnknownSchema for an event from a newer writer, ValueError
    for a head that cannot be read.
    """
    at = datetime.fromtimestamp(now, UTC)
    before, batch = progress.read(head), sort_out(records, at)
    after = before.advanced(records, batch.dues, at)
    for _ in range(ATTEMPTS - 1):
        try:
            return _commit(catalog, shard, after, batch, at)
        except Unavailable:
            continue
    return _commit(catalog, shard, after, batch, at)


def sort_out(records: Sequence[Record], now: datetime) -> Batch:
    """Decode a batch; what can never be read becomes a dead letter."""
    batch = Batch()
    for record in records:
        try:
            _take(batch, record, arrival(record).event)
        except Rejected as error:
            batch.refused.append(rejected(record, OPERATOR, error.reason, now))
    return batch


def write(tables: CatalogTables, ones: Sequence[Written]) -> tuple[Output, ...]:
    """Write what came and all that is derived from it; gives every conflict that it takes part in, new or not.

    A crash between commit and sending loses none: the same batch comes again, and finds them in the rows.
    """
    if ended := [one for one in ones if isinstance(one, TransferRow)]:
        tables.put_transfers(ended)
    if kept := [one for one in ones if isinstance(one, QuarantineRow)]:
        tables.put_quarantine(kept)
    came = [one for one in ones if isinstance(one, Arrived)]
    return _write_instances(tables, came) if came else ()


def _write_instances(tables: CatalogTables, came: Sequence[Arrived]) -> tuple[Output, ...]:
    known = tables.known({one.key for one in came})
    change = instance_change(known, came)
    tables.put_instances(change.shown, change.lost, change.cleared)
    tables.put_studies(*derived_change(known, came, tables.series_totals(change.touched)))
    return tuple(conflicts.announced(shown, lost) for shown, lost in change.conflicts)


def settle(tables: CatalogTables, due: StudyDue, shard: int, now: datetime) -> RevisionRow | None:
    """Make the due study's next revision if it shows something else; give its last one."""
    state = tables.state(StudyKey(due.tenant, due.study_uid))
    revision = next_revision(state, due, shard, now)
    if revision is None:
        return state.last
    tables.put_revision(revision)
    return revision


def _take(batch: Batch, record: Record, event: Event) -> None:
    if isinstance(event, InstanceQuarantined):
        batch.entries.append((record, quarantine_row(event)))
        return
    if not isinstance(event, InstanceStored | TransferEnded | StudyDue):
        raise Rejected("not-for-the-catalog")
    check_names(event)
    if isinstance(event, InstanceStored):
        batch.entries.append((record, arrived(event)))
    elif isinstance(event, TransferEnded):
        batch.entries.append((record, transfer_row(event)))
    else:
        check_place(event)
        batch.dues.append(event)
    batch.studies[StudyKey(event.tenant, event.study_uid)] = None


def _commit(catalog: Catalog, shard: int, head: Head, batch: Batch, now: datetime) -> Flushed:
    with catalog.transaction(shard) as tables:
        told = [*batch.refused, *_write_all_that_can_be(tables, batch.entries, now)]
        last = [row for due in head.waiting if head.is_ready(due) and (row := settle(tables, due, shard, now))]
        # The shard is held: what is read now is all that will be there when this commits.
        fresh = tables.revisions(shard, head.announced, ANNOUNCED_AT_ONCE)
        versions = tables.versions(tuple(batch.studies))
    after = replace(
        head,
        waiting=tuple(due for due in head.waiting if not head.is_ready(due)),
        announced=fresh[-1].version if fresh else head.announced,
    )
    cataloged = (_cataloged(study, version, now) for study, version in versions.items())
    return Flushed(after.to_bytes(), (*told, *cataloged, *announcements((*fresh, *last))))


def _write_all_that_can_be(tables: CatalogTables, entries: Sequence[Entry], now: datetime) -> list[Output]:
    """Write the entries; a batch that is refused is halved until the entry is found that is to blame.

    Gives what is to be told: conflicts, and dead letters.
    """
    if not entries:
        return []
    try:
        with tables.savepoint():
            return list(write(tables, [one for _, one in entries]))
    except Rejected as error:
        if len(entries) == 1:
            return [rejected(entries[0][0], OPERATOR, error.reason, now)]
        middle = len(entries) // 2
        first = _write_all_that_can_be(tables, entries[:middle], now)
        return first + _write_all_that_can_be(tables, entries[middle:], now)


def _cataloged(study: StudyKey, version: int, now: datetime) -> Output:
    event = StudyCataloged(
        event_id=event_id(*study, "cataloged", str(version)),
        tenant=study.tenant,
        occurred_at=now,
        study_uid=study.study_uid,
        version=version,
    )
    return Output(STUDY_CATALOGED, event)
