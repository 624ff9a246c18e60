"""The catalog's writer and its hidden rows in memory: the same transactions over rows in dicts."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from operators.catalog.ports import Announcements, ConflictPair, KnownRows, SeriesTotals, StudyState
from operators.catalog.progress import (
    NO_TOPIC,
    ShardProgress,
    TopicIds,
    due_shard,
    is_lost,
    place_of,
    shard_of,
)
from operators.catalog.rows import (
    AppliedOffsetRow,
    CommandRow,
    ConflictRow,
    Content,
    DamageRow,
    DecisionRow,
    DueRow,
    InstanceKey,
    InstanceRow,
    PolicyRow,
    QuarantineRow,
    RevisionRow,
    SeriesKey,
    SeriesRow,
    StudyKey,
    StudyRow,
    TopicPartition,
    TransferRow,
    WaitingDueRow,
)
from operators.connectors.memory.stores import Failing
from operators.errors import Rejected
from schemas.events import StudyDue
from schemas.topics import study_key

# A number of shards, and one of these shards.
Shard = tuple[int, int]

CONTENT = tuple(each.name for each in fields(Content))
T = TypeVar("T")
# A row that names its transfer.
Told = TypeVar("Told", TransferRow, QuarantineRow)


@dataclass
class MemoryTables:
    """CatalogTables over dicts by primary key; no other transaction runs at the same time."""

    studies: dict[tuple[str, str], StudyRow] = field(default_factory=dict)
    series: dict[tuple[str, str, str], SeriesRow] = field(default_factory=dict)
    instances: dict[tuple[str, str, str], InstanceRow] = field(default_factory=dict)
    conflicts: dict[tuple[str, str, str, str], ConflictRow] = field(default_factory=dict)
    revision_rows: dict[tuple[str, str, int], RevisionRow] = field(default_factory=dict)
    transfers: dict[tuple[str, str, str], TransferRow] = field(default_factory=dict)
    quarantine: dict[tuple[str, str], QuarantineRow] = field(default_factory=dict)
    commands: dict[tuple[str, str, UUID], CommandRow] = field(default_factory=dict)
    decisions: dict[tuple[str, str, str, str, str], DecisionRow] = field(default_factory=dict)
    dues: dict[tuple[str, str, UUID], DueRow] = field(default_factory=dict)
    policies: dict[tuple[str, str, str], PolicyRow] = field(default_factory=dict)
    damage: dict[tuple[str, str, str, str], DamageRow] = field(default_factory=dict)
    hidden: set[tuple[str, ...]] = field(default_factory=set)
    applied: dict[tuple[Shard, TopicPartition], int] = field(default_factory=dict)
    waiting: dict[tuple[Shard, UUID], WaitingDueRow] = field(default_factory=dict)
    announced: dict[Shard, int] = field(default_factory=dict)
    behind: set[Shard] = field(default_factory=set)
    version: int = 0
    shard: Shard = (1, 0)

    def backup(self) -> "MemoryTables":
        """Return a copy of all rows."""
        return MemoryTables(**{name: copy(value) for name, value in self.__dict__.items()})

    def restore(self, backup: "MemoryTables") -> None:
        """Replace all rows by those of a backup; versions go on rising, as those of PostgreSQL do."""
        self.__dict__.update(backup.backup().__dict__, version=self.version)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Open a block whose writes are undone when an exception leaves it."""
        before = {name: copy(value) for name, value in self.__dict__.items()}
        try:
            yield
        except BaseException:
            # As with a sequence in PostgreSQL, a version is not reused when its transaction is undone.
            self.__dict__.update(before, version=self.version)
            raise

    def known(self, keys: Collection[InstanceKey], studies: Collection[StudyKey] = ()) -> KnownRows:
        """Return the contents under these keys, and their studies and others with all series."""
        wanted, sop_uids = {*studies, *(StudyKey(*key[:2]) for key in keys)}, {"", *(key.sop_uid for key in keys)}
        return KnownRows(
            version=self._next_version(),
            studies={StudyKey(*key): self.studies[key] for key in wanted & self.studies.keys()},
            series={SeriesKey(*key): row for key, row in self.series.items() if key[:2] in wanted},
            shown={key: content_of(self.instances[key]) for key in keys if key in self.instances},
            lost={key: self._lost(key) for key in keys},
            decisions=tuple(
                row
                for key, row in self.decisions.items()
                if key[:2] in wanted and row.sop_uid in sop_uids and row.subject != "hold"
            ),
        )

    def put_instances(
        self, shown: Collection[InstanceRow], lost: Collection[ConflictRow], cleared: Collection[tuple[str, ...]]
    ) -> None:
        """Write instances and conflicts."""
        _refuse_nul(*shown, *lost)
        self.instances.update({(row.tenant, row.study_uid, row.sop_uid): row for row in shown})
        self.conflicts.update({(row.tenant, row.study_uid, row.sop_uid, row.data_hash): row for row in lost})
        self.conflicts = {key: row for key, row in self.conflicts.items() if key not in set(cleared)}

    def show_instances(self, shown: Collection[StudyKey], hidden: Collection[StudyKey]) -> None:
        """Show the instances of some studies, and hide those of others."""
        self.hidden = (self.hidden - {tuple(study) for study in shown}) | {tuple(study) for study in hidden}

    def put_commands(
        self, rows: Collection[CommandRow], decisions: Collection[DecisionRow]
    ) -> frozenset[tuple[StudyKey, UUID]]:
        """Write commands and decisions; return the commands that were not there before."""
        _refuse_nul(*rows)
        new = {(row.tenant, row.study_uid, row.command_id): row for row in rows}
        added = new.keys() - self.commands.keys()
        self.commands = new | self.commands
        for row in decisions:
            key = (row.tenant, row.study_uid, row.sop_uid, row.subject, row.data_hash)
            other = self.decisions.get(key, row)
            self.decisions[key] = max(other, row, key=lambda each: (each.occurred_at, each.command_id))
        return frozenset((StudyKey(*study), command_id) for *study, command_id in added)

    def announce_again(self, study: StudyKey, command: UUID) -> None:
        """Put a new version on the study's last revision, with the command that asks for it."""
        of_study = [key for key in self.revision_rows if key[:2] == study]
        if of_study:
            last = max(of_study)
            row = self.revision_rows[last]
            self.revision_rows[last] = replace(row, version=self._next_version(), again=command)

    def put_transfers(self, rows: Collection[TransferRow]) -> None:
        """Write the ends of transfers."""
        _refuse_nul(*rows)
        for row in rows:
            key = (row.tenant, row.transfer_id, row.study_uid)
            other = self.transfers.get(key, row)
            self.transfers[key] = max(other, row, key=lambda each: (each.ended_at, each.event_id))

    def put_quarantine(self, rows: Collection[QuarantineRow]) -> None:
        """Write quarantined contents."""
        _refuse_nul(*rows)
        for row in rows:
            other = self.quarantine.get((row.tenant, row.data_hash), row)
            later = max(other, row, key=lambda each: (each.stored_at, each.occurred_at, each.event_id))
            self.quarantine[row.tenant, row.data_hash] = later

    def put_policies(self, rows: Collection[PolicyRow]) -> None:
        """Write versions of policies."""
        _refuse_nul(*rows)
        for row in rows:
            other = self.policies.get((row.tenant, row.kind, row.name), row)
            self.policies[row.tenant, row.kind, row.name] = max(other, row, key=lambda each: each.version)

    def series_totals(self, keys: Collection[SeriesKey]) -> dict[SeriesKey, SeriesTotals]:
        """Return the totals of these series."""
        return {key: _totals_of([row for row in self.instances.values() if _series_key(row) == key]) for key in keys}

    def put_studies(self, studies: Collection[StudyRow], series: Collection[SeriesRow]) -> None:
        """Write studies and series."""
        self.studies.update({(row.tenant, row.study_uid): row for row in studies})
        self.series.update({(row.tenant, row.study_uid, row.series_uid): row for row in series})

    def state(self, study: StudyKey, due: UUID) -> StudyState:
        """Return the present state of a study that is due."""
        revisions = [row for key, row in self.revision_rows.items() if key[:2] == study]
        return StudyState(
            version=self._next_version(),
            study=self.studies.get(study),
            series=tuple(row for key, row in self.series.items() if key[:2] == study),
            rows=tuple(
                (row.series_uid, row.sop_uid, row.data_hash) for key, row in self.instances.items() if key[:2] == study
            ),
            last=max(revisions, key=lambda row: row.revision, default=None),
            made=tuple(row for row in revisions if row.due_event_id == due),
        )

    def put_revision(self, row: RevisionRow) -> None:
        """Add a revision."""
        self.revision_rows[row.tenant, row.study_uid, row.revision] = row

    def progress(self) -> ShardProgress:
        """Return the progress of the shard that is held."""
        applied = {place: offset for (shard, place), offset in self.applied.items() if shard == self.shard}
        return ShardProgress(applied, self.announced.get(self.shard, 0))

    def raise_versions(self, above: int) -> None:
        """Keep every later version above `above`."""
        self.version = max(self.version, above)

    def note_went_back(self, sent: Mapping[TopicPartition, int], announced: int | None) -> None:
        """Note that the rows of the shard that is held are behind what was committed."""
        self.behind = self.behind | {self.shard}
        applied = self.progress().applied
        lower = {(self.shard, place): min(offset, sent.get(place, -1)) for place, offset in applied.items()}
        self.applied = self.applied | lower
        now = self.announced.get(self.shard, 0)
        self.announced = self.announced | {self.shard: now if announced is None else min(now, announced)}

    def settled_before(self, dues: Collection[StudyDue]) -> frozenset[str]:
        """Return the event ids of those of the dues that have a row."""
        return frozenset(due.event_id for due in dues if (due.tenant, due.study_uid, UUID(due.event_id)) in self.dues)

    def advance(
        self, applied: Mapping[TopicPartition, int], waiting: Collection[WaitingDueRow], topic_ids: TopicIds
    ) -> tuple[WaitingDueRow, ...]:
        """Write the progress; return the dues whose wait is over."""
        higher = {(self.shard, place): offset for place, offset in applied.items()}
        self.applied |= {key: max(offset, self.applied.get(key, -1)) for key, offset in higher.items()}
        self.put_waiting(waiting)
        mine = [row for (shard, _), row in self.waiting.items() if shard == self.shard]
        return tuple(row for row in mine if is_lost(row, topic_ids) or applied.get(place_of(row), -1) >= row.offset)

    def put_waiting(self, rows: Collection[WaitingDueRow]) -> None:
        """Write dues that wait."""
        for row in rows:
            before = self.waiting.get((self.shard, row.event_id))
            if before is None or before.topic != row.topic:
                self.waiting[self.shard, row.event_id] = row

    def announce(
        self, studies: Collection[StudyKey], settled: Collection[DueRow], above: int, most: int
    ) -> Announcements:
        """Keep settled dues, which no longer wait, and note the returned revisions as announced."""
        over = {(self.shard, due.event_id) for due in settled}
        self.waiting = {key: row for key, row in self.waiting.items() if key not in over}
        self._put_dues(settled)
        found = [row for row in self.revision_rows.values() if row.shard == self.shard[1] and row.version > above]
        revisions = tuple(sorted(found, key=lambda row: row.version)[:most])
        higher = revisions[-1].version if revisions else above
        self.announced[self.shard] = max(higher, self.announced.get(self.shard, 0))
        versions = {key: self.studies[key].version for key in studies if key in self.studies}
        return Announcements(versions, revisions)

    def _put_dues(self, rows: Collection[DueRow]) -> None:
        new = {(row.tenant, row.study_uid, row.event_id): row for row in rows}
        known = {key: self.dues[key] for key in new.keys() & self.dues.keys()}
        later = {key: replace(row, revision=new[key].revision) for key, row in known.items() if row.revision is None}
        self.dues = self.dues | new | known | later

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _lost(self, key: InstanceKey) -> tuple[ConflictRow, ...]:
        return tuple(row for conflict, row in self.conflicts.items() if conflict[:3] == key)


@dataclass
class MemoryCatalog(Failing):
    """A Catalog in memory, for a job with this number of shards."""

    tables: MemoryTables = field(default_factory=MemoryTables)
    shards: int = 1

    @contextmanager
    def transaction(self, shard: int) -> Iterator[MemoryTables]:
        """Open a transaction that commits at the end of the block, and is undone by an exception.

        Transactions run one at a time.
        """
        self.before_request("catalog")
        self.tables.shard = (self.shards, shard)
        with self.tables.savepoint():
            yield self.tables
        self.after_request("catalog")


@dataclass
class MemoryProgress(Failing):
    """A CatalogProgress over a MemoryCatalog's tables."""

    tables: MemoryTables = field(default_factory=MemoryTables)

    def applied(self) -> tuple[AppliedOffsetRow, ...]:
        """Return all applied offsets."""
        self.before_request("catalog")
        rows = [(*shard, *place, offset) for (shard, place), offset in self.tables.applied.items()]
        return tuple(AppliedOffsetRow(*row) for row in rows)

    def announced(self, shards: int) -> dict[int, int]:
        """Return the version of the last announced revision by shard."""
        self.before_request("catalog")
        return {shard: version for (of, shard), version in self.tables.announced.items() if of == shards}

    def waiting(self, shards: int, before: Mapping[TopicPartition, int]) -> int:
        """Return how many dues wait for an offset below those of `before`."""
        self.before_request("catalog")
        mine = [row for ((of, _), _), row in self.tables.waiting.items() if of == shards]
        return sum(row.offset < before.get(place_of(row), 0) for row in mine)

    def went_back(self, shards: int) -> frozenset[int]:
        """Return the shards whose rows were found behind what was committed."""
        self.before_request("catalog")
        return frozenset(shard for of, shard in self.tables.behind if of == shards)

    def note_begun(self, shards: int) -> None:
        """Note that a job has begun at the rows' offsets."""
        self.before_request("catalog")
        self.tables.behind = {shard for shard in self.tables.behind if shard[0] != shards}

    def writers(self) -> int:
        """Return 0: the tables have no connections."""
        self.before_request("catalog")
        return 0

    def reshard(self, shards: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Move all progress to the shards of another number of them."""
        self.before_request("catalog")
        tables, every = self.tables, [(shards, shard) for shard in range(shards)]
        tables.applied = {(shard, place): offset for shard in every for place, offset in offsets.items()}
        tables.waiting = {
            ((shards, due_shard(row, shards)), event_id): row for (_, event_id), row in tables.waiting.items()
        }
        tables.revision_rows = {
            key: replace(row, shard=shard_of(study_key(row.tenant, row.study_uid), shards))
            for key, row in tables.revision_rows.items()
        }
        tables.announced, tables.behind = dict.fromkeys(every, 0), set(every)

    def forget(self) -> None:
        """Remove all applied offsets, make every waiting due ready, and count no revision as announced."""
        self.before_request("catalog")
        self.tables.applied.clear()
        self.tables.announced = dict.fromkeys(self.tables.announced, 0)
        self.tables.waiting = {key: replace(row, topic_id=NO_TOPIC) for key, row in self.tables.waiting.items()}


@dataclass
class MemoryHiddenRows(Failing):
    """A HiddenRows over a MemoryCatalog's tables."""

    tables: MemoryTables = field(default_factory=MemoryTables)

    def quarantined(
        self, tenant: str | None, most: int, *, beginning: str = "", held_at: datetime | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return contents that are or were in quarantine, the latest first."""
        self.before_request("catalog")
        found = [
            row
            for row in self.tables.quarantine.values()
            if tenant in (None, row.tenant)
            and row.data_hash.startswith(beginning)
            and (held_at is None or (row.state == "held" and row.until > held_at))
        ]
        ordered = sorted(found, key=lambda row: (row.tenant, row.data_hash))
        return tuple(sorted(ordered, key=lambda row: row.stored_at, reverse=True)[:most])

    def transfers(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[TransferRow, ...]:
        """Return the latest transfers that ended in this time."""
        self.before_request("catalog")
        found = [
            row
            for row in self.tables.transfers.values()
            if since <= row.ended_at < until
            and tenant in (None, row.tenant)
            and sender in (None, row.peer, row.calling_ae)
        ]
        return _of_latest(sorted(found, key=lambda row: row.study_uid), most, lambda row: row.ended_at)

    def refused(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return the contents of the latest transfers in this time that are known by them alone."""
        self.before_request("catalog")
        ended = {key[:2] for key in self.tables.transfers}
        found = [
            row
            for row in self.tables.quarantine.values()
            if since <= row.received_at < until
            and tenant in (None, row.tenant)
            and sender in (None, row.calling_ae)
            and (row.tenant, row.transfer_id) not in ended
        ]
        return _of_latest(sorted(found, key=lambda row: row.data_hash), most, lambda row: row.received_at)

    def commands(self, tenant: str, study_uid: str) -> tuple[CommandRow, ...]:
        """Return the commands for a study, the earliest first."""
        found = self._of_study(self.tables.commands, tenant, study_uid)
        return tuple(sorted(found, key=lambda row: (row.occurred_at, row.command_id)))

    def decisions(self, tenant: str, study_uid: str) -> tuple[DecisionRow, ...]:
        """Return what was decided of a study and its instances."""
        found = self._of_study(self.tables.decisions, tenant, study_uid)
        return tuple(sorted(found, key=lambda row: (row.sop_uid, row.subject, row.data_hash)))

    def dues(self, tenant: str, study_uid: str) -> tuple[DueRow, ...]:
        """Return the dues of a study that were applied, the earliest first."""
        found = self._of_study(self.tables.dues, tenant, study_uid)
        return tuple(sorted(found, key=lambda row: (row.due_at, row.event_id)))

    def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, None if it has none."""
        found = self._of_study(self.tables.revision_rows, tenant, study_uid)
        return max(found, key=lambda row: row.revision, default=None)

    def _of_study(self, rows: Mapping[Any, T], tenant: str, study_uid: str) -> list[T]:
        self.before_request("catalog")
        return [row for key, row in rows.items() if key[:2] == (tenant, study_uid)]

    def conflicts(self, tenant: str | None, most: int, *, sop_uid: str | None = None) -> tuple[ConflictPair, ...]:
        """Return conflicts, the latest first."""
        self.before_request("catalog")
        found = [
            row
            for row in self.tables.conflicts.values()
            if tenant in (None, row.tenant) and sop_uid in (None, row.sop_uid)
        ]
        ordered = sorted(found, key=lambda row: (row.tenant, row.study_uid, row.sop_uid, row.data_hash))
        latest = sorted(ordered, key=lambda row: row.stored_at, reverse=True)[:most]
        instances = self.tables.instances
        return tuple(ConflictPair(content_of(instances[row.tenant, row.study_uid, row.sop_uid]), row) for row in latest)


def _of_latest(rows: Sequence[Told], most: int, moment: Callable[[Told], datetime]) -> tuple[Told, ...]:
    """Return the rows of the latest `most` transfers, the latest first; those of one transfer in the order given."""
    by_transfer: dict[tuple[str, str], list[Told]] = {}
    for row in rows:
        by_transfer.setdefault((row.tenant, row.transfer_id), []).append(row)
    latest = sorted(sorted(by_transfer), key=lambda key: max(map(moment, by_transfer[key])), reverse=True)
    return tuple(row for key in latest[:most] for row in by_transfer[key])


def content_of(row: InstanceRow) -> Content:
    """Return the content that an instance shows."""
    return Content(**{name: getattr(row, name) for name in CONTENT})


def _refuse_nul(*rows: Any) -> None:
    if any(isinstance(value, str) and "\0" in value for row in rows for value in row.__dict__.values()):
        raise Rejected("refused-by-the-database")


def _series_key(row: InstanceRow) -> SeriesKey:
    return SeriesKey(row.tenant, row.study_uid, row.series_uid)


def _totals_of(rows: Collection[Any]) -> SeriesTotals:
    classes = tuple(sorted({row.sop_class for row in rows}))
    return SeriesTotals(len(rows), sum(row.size_bytes for row in rows), classes)
