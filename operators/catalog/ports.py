"""The ports of the catalog, for its writer, its readers and the archive's operators; `connectors/` has two of each."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from operators.catalog.contents import Precedence
from operators.catalog.progress import ShardProgress, TopicIds
from operators.catalog.query import Query
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
from schemas.events import StudyDue

# Frames in packed form that are longer come only with the location of a single instance: a list of 64 Ki frames for each
# instance of a study would be too much to hold.
SHORT_FRAMES_BYTES = 256
# Of a transfer, the history of a study tells so many contents in quarantine, those with the lowest hashes.
QUARANTINED_TOLD = 10


@dataclass(frozen=True)
class KnownRows:
    """The rows that the catalog has under the keys of a batch, and a version above all versions given before.

    `decisions` are the deletions of its studies, and the choices for its instances.
    """

    version: int
    studies: Mapping[StudyKey, StudyRow]
    series: Mapping[SeriesKey, SeriesRow]
    shown: Mapping[InstanceKey, Content]
    lost: Mapping[InstanceKey, tuple[ConflictRow, ...]]
    decisions: tuple[DecisionRow, ...] = ()


@dataclass(frozen=True)
class SeriesTotals:
    """The counts of a series, added up from the rows of its shown instances."""

    instances: int = 0
    size_bytes: int = 0
    sop_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyState:
    """The present rows of a study, its last revision, and a version above all versions given before.

    `study` is None and `series` empty when no instance of the study ever arrived. `rows` has a
    (series UID, SOP UID, data hash) for the row of each instance, `made` each revision that the due has made before.
    """

    version: int
    study: StudyRow | None
    series: tuple[SeriesRow, ...]
    rows: tuple[tuple[str, str, str], ...]
    last: RevisionRow | None
    made: tuple[RevisionRow, ...]

    @property
    def shown(self) -> tuple[tuple[str, str, str], ...]:
        """Return the `rows` of shown instances: none in a study that counts none, because it is deleted."""
        return self.rows if self.study and self.study.instances else ()


@dataclass(frozen=True)
class Announcements:
    """What a transaction announces after it has committed.

    `versions` has the present version of each study of the batch that has a row, `revisions` the shard's next revisions
    that were not announced, in rising order of version.
    """

    versions: Mapping[StudyKey, int]
    revisions: tuple[RevisionRow, ...]


class CatalogTables(Protocol):
    """The catalog's tables inside one transaction that holds a shard.

    The writer reads the rows that a batch concerns, computes the new rows, and writes them whole. Every method raises
    Rejected when the database refuses the data themselves, and Unavailable when it cannot answer; after either error
    nothing may be written before the enclosing savepoint or transaction has been left. Writing the same rows again
    changes nothing. No write may undo a later write: an attempt that was overtaken leaves the newer row in place.
    Versions rise, and no version is given twice, even when its transaction fails, or when the database is replaced by
    an earlier state of itself: whoever has seen a version sees only higher ones later.
    """

    def progress(self) -> ShardProgress:
        """Return the shard's progress, as it was when the transaction took the shard."""

    def raise_versions(self, above: int) -> None:
        """Keep every later version above `above`, even if this transaction is undone."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Open a block whose writes are undone when an exception leaves it."""

    def known(self, keys: Collection[InstanceKey], studies: Collection[StudyKey] = ()) -> KnownRows:
        """Return the contents under these keys, and the rows of their studies and of every series in those studies.

        `studies` are further ones whose rows and series are wanted.
        """

    def put_instances(
        self, shown: Collection[InstanceRow], lost: Collection[ConflictRow], cleared: Collection[tuple[str, ...]]
    ) -> None:
        """Write instances and conflicts; delete the conflicts under `cleared`: an instance's key and a data hash."""

    def show_instances(self, shown: Collection[StudyKey], hidden: Collection[StudyKey]) -> None:
        """Show the instances of studies that are restored, and hide those of studies that are deleted.

        An instance that is written is shown, until its study is hidden again.
        """

    def put_commands(
        self, rows: Collection[CommandRow], decisions: Collection[DecisionRow]
    ) -> frozenset[tuple[StudyKey, UUID]]:
        """Write commands and decisions; return the commands that were not there before, by study and id.

        A command that is there stays as it is; of a decision, the row with the greatest (occurred_at, command id) stays.
        """

    def announce_again(self, study: StudyKey, command: UUID) -> None:
        """Put a new version on the study's last revision, if there is one, with the command that asks for it."""

    def put_transfers(self, rows: Collection[TransferRow]) -> None:
        """Write ends of transfers; for one transfer and study, the row with the greatest (ended_at, event id) stays."""

    def put_quarantine(self, rows: Collection[QuarantineRow]) -> None:
        """Write quarantined contents; for one content, the greatest (stored_at, occurred_at, event id) stays."""

    def put_policies(self, rows: Collection[PolicyRow]) -> None:
        """Write versions of policies; of one policy, the row with the greatest version stays."""

    def series_totals(self, keys: Collection[SeriesKey]) -> dict[SeriesKey, SeriesTotals]:
        """Return the counts of each of these series, zero for a series without shown instances."""

    def put_studies(self, studies: Collection[StudyRow], series: Collection[SeriesRow]) -> None:
        """Write studies and series."""

    def state(self, study: StudyKey, due: UUID) -> StudyState:
        """Return the present state of a study that is due, by the event id of its due."""

    def put_revision(self, row: RevisionRow) -> None:
        """Add a revision."""

    def note_went_back(self, sent: Mapping[TopicPartition, int], announced: int | None) -> None:
        """Note that the shard's rows are behind what was committed, for whoever starts the job again.

        The job must begin again where its own run stands, if the rows of an earlier run are ahead of that: applied
        offsets are lowered to those of `sent`, and the announced version to `announced`, if that is known.
        """

    def settled_before(self, dues: Collection[StudyDue]) -> frozenset[str]:
        """Return the event ids of those of the dues that have a row, and so were settled in an earlier transaction."""

    def advance(
        self, applied: Mapping[TopicPartition, int], waiting: Collection[WaitingDueRow], topic_ids: TopicIds
    ) -> tuple[WaitingDueRow, ...]:
        """Write the shard's applied offsets and dues that wait; a due that waits already for the same topic is unchanged.

        Return the waiting dues whose wait is over: the position is applied, or it is in a deleted topic, with another id
        than in `topic_ids`, and will never be. `applied` has the partitions that have waiting dues too.
        """

    def put_waiting(self, rows: Collection[WaitingDueRow]) -> None:
        """Write dues that wait for a record of another topic now."""

    def announce(
        self, studies: Collection[StudyKey], settled: Collection[DueRow], above: int, most: int
    ) -> Announcements:
        """Keep the settled dues, which no longer wait, and note the returned revisions as announced.

        A due that is kept already stays as it is, but for a revision that it makes only now.

        At most `most` revisions with versions above `above` are returned; all up to `above` count as announced.
        """


class Catalog(Protocol):
    """The catalog's database, for the one writer of each shard of a job with a fixed number of shards.

    Only one transaction of a shard can be open at a time: an earlier attempt that is still dying cannot write after a
    newer one. Transactions of different shards run in parallel. An error on leaving may mean that the commit was made
    and its answer lost: the caller then writes the same batch again.
    """

    def transaction(self, shard: int) -> AbstractContextManager[CatalogTables]:
        """Hold the shard, commit on leaving, and undo everything when an exception leaves the block."""


class CatalogProgress(Protocol):
    """The progress of all shards, for whoever starts and watches the catalog job.

    `shards` is the job's number of shards. Every method raises Unavailable when the catalog does not answer.
    """

    def applied(self) -> tuple[AppliedOffsetRow, ...]:
        """Return the applied offsets of every number of shards, also of topics that were deleted."""

    def announced(self, shards: int) -> dict[int, int]:
        """Return the version of the last announced revision by shard; absent without one."""

    def waiting(self, shards: int, before: Mapping[TopicPartition, int]) -> int:
        """Return how many dues wait for an offset that is lower than that of its partition in `before`."""

    def went_back(self, shards: int) -> frozenset[int]:
        """Return the shards whose flush has noted that rows are behind, if no job has begun at the rows since."""

    def note_begun(self, shards: int) -> None:
        """Note that a job has begun at the rows' offsets."""

    def writers(self) -> int:
        """Return how many connections of the catalog job are open; a job that has not flushed yet has none."""

    def reshard(self, shards: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Move all progress to the shards of another number of them, and remove that of every other number.

        The next start with this number begins at the rows: there, everything up to `offsets` is applied, in each shard.
        A waiting due waits in the shard of its study, and the revisions of a study belong to that shard; none of them
        counts as announced. A job that runs meanwhile stops at its next flush, before it writes.
        """

    def forget(self) -> None:
        """Remove all applied offsets; every waiting due is ready at the next flush of its shard.

        No revision counts as announced any more: its event may be lost, or may not have been sent before its due was
        lost. Call it when the broker has lost records, and no job runs: its offsets name other records now.
        """


@dataclass(frozen=True)
class ConflictPair:
    """Two contents under one instance's UIDs: the shown one, and one that lost against it."""

    shown: Content
    lost: ConflictRow


class HiddenRows(Protocol):
    """The rows that queries do not show, for an archive's operators: what is in quarantine, conflicts, a study's history.

    A tenant of None means all tenants: never pass it for a reader of the archive. Every method returns at most `most`
    rows, or the rows of `most` transfers, the latest first, and raises Unavailable when the catalog does not answer.
    Rows are written after their events: an object that was quarantined a moment ago may still be missing.
    """

    def quarantined(
        self, tenant: str | None, most: int, *, beginning: str = "", held_at: datetime | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return contents that are or were in quarantine, with data hashes that start with `beginning`.

        With `held_at`, only contents that are still held at that moment.
        """

    def transfers(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[TransferRow, ...]:
        """Return the latest `most` transfers that ended from `since` on and before `until`, a row for each of their studies.

        With `sender`, only those of the peer with this name, or with this calling AE title.
        """

    def refused(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return what is or was in quarantine of the latest `most` transfers that have no row of their own.

        Their contents were received from `since` on and before `until`. With `sender`, only those with this calling AE
        title.
        """

    def commands(self, tenant: str, study_uid: str) -> tuple[CommandRow, ...]:
        """Return the commands for a study, the earliest first."""

    def decisions(self, tenant: str, study_uid: str) -> tuple[DecisionRow, ...]:
        """Return what was decided of a study, held or deleted or not, and of its instances, in the order of their UIDs.

        Nothing of a study may be removed while its hold is in force.
        """

    def dues(self, tenant: str, study_uid: str) -> tuple[DueRow, ...]:
        """Return the dues of a study that were applied, the earliest first."""

    def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, None if it has none."""

    def conflicts(self, tenant: str | None, most: int, *, sop_uid: str | None = None) -> tuple[ConflictPair, ...]:
        """Return conflicts; with `sop_uid`, only those of instances with this UID, in any study."""


@dataclass(frozen=True, kw_only=True)
class HistoryRows:
    """The rows of one page of a study's history, in no order; `total` counts the entries of the whole history.

    `is_known` is True if an instance of the study is cataloged, or anything is told of it. Revisions are without their
    series. `decisions` are those about the study, and about the instances that the page names, without the packed
    instance. `quarantined` has at most QUARANTINED_TOLD contents of each of the page's transfers.
    """

    is_known: bool
    total: int
    commands: tuple[CommandRow, ...] = ()
    conflicts: tuple[ConflictPair, ...] = ()
    transfers: tuple[TransferRow, ...] = ()
    dues: tuple[DueRow, ...] = ()
    revisions: tuple[RevisionRow, ...] = ()
    decisions: tuple[DecisionRow, ...] = ()
    quarantined: tuple[QuarantineRow, ...] = ()


@dataclass(frozen=True)
class StudyResult:
    """A study in an answer: its attributes as DICOM JSON text, and counts of its rows."""

    attributes: str = field(repr=False)
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    series: int
    instances: int


@dataclass(frozen=True)
class SeriesResult:
    """A series in an answer: its attributes as DICOM JSON text, and how many instances it shows."""

    attributes: str = field(repr=False)
    instances: int


@dataclass(frozen=True)
class InstanceResult:
    """An instance in an answer: its attributes as DICOM JSON text, its object's transfer syntax and tier."""

    attributes: str = field(repr=False)
    transfer_syntax: str
    tier: str


@dataclass(frozen=True)
class Hit:
    """One result of a query: the UIDs down to its level, and each level that belongs in the answer."""

    study_uid: str
    series_uid: str | None = None
    sop_uid: str | None = None
    study: StudyResult | None = None
    series: SeriesResult | None = None
    instance: InstanceResult | None = None


@dataclass(frozen=True)
class Page:
    """A page of results in a stable order, and the number of results after it; `most_counted` if there are that many or more."""

    hits: tuple[Hit, ...]
    remaining: int


@dataclass(frozen=True)
class Location:
    """The location of a shown instance's object, and the values that are needed to serve it.

    `frames` is in the packed form of operators/dicom/frames.py, and empty if longer than SHORT_FRAMES_BYTES,
    unless locate_one() returned the location. `is_marked` is True if the object has a mark in any tier: marks() has it.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    object_key: str
    tier: str
    size_bytes: int
    data_hash: str
    prefix_length: int
    header_length: int
    prefix_hash: str
    frames: bytes = field(default=b"", repr=False)
    is_marked: bool = False


class CatalogQueries(Protocol):
    """Reading the catalog, one tenant at a time: no method returns another tenant's rows.

    Only shown instances are found, and studies and series with shown instances: those of a deleted study are not shown, so
    that it counts none. history() alone tells of all. Each call reads a consistent state of
    the catalog, but two calls may read different states: between two pages a study can appear. An object may have moved
    to another tier since its location was read. Every method raises Unavailable when the catalog does not answer in
    time.
    """

    async def search(self, tenant: str, query: Query) -> Page:
        """Return the page of studies, series or instances that the query asks for."""

    async def locate(self, tenant: str, study_uid: str, series_uid: str | None = None) -> tuple[Location, ...]:
        """Return the instances of a study or series in the order of their numbers, without long frames."""

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        """Return one instance with its frames; None when it is not shown."""

    async def marks(self, tenant: str, study_uid: str, object_key: str) -> tuple[DamageRow, ...]:
        """Return the marks of an object, at most one a tier: where its bytes were found damaged."""

    async def shown(self, tenant: str, instances: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Precedence]:
        """Return the precedence of the shown content of each of these instances that the catalog shows.

        A content that somebody chose has CHOSEN_AT for its moment. An instance is named by its study UID and its SOP Instance UID.
        """

    async def history(self, tenant: str, study_uid: str, limit: int, offset: int = 0) -> HistoryRows:
        """Return the rows of `limit` entries of a study's history, after the first `offset` in the order of place_of().

        A deleted study has its history, and what is not shown is part of it. A transfer is an entry once it has ended.
        """

    async def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, deleted or not; None if it has none."""

    async def policies(self, tenant: str) -> tuple[PolicyRow, ...]:
        """Return the policies in force, in the order of their kinds and names."""

    async def check(self) -> None:
        """Return once the catalog has answered."""
