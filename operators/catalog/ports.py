"""What operators ask of the catalog, as its writer and as its readers; `connectors/` answers twice: for real and in memory."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from operators.catalog.query import Query
from operators.catalog.rows import (
    ConflictRow,
    Content,
    InstanceKey,
    InstanceRow,
    QuarantineRow,
    RevisionRow,
    SeriesKey,
    SeriesRow,
    StudyKey,
    StudyRow,
    TransferRow,
)


@dataclass(frozen=True)
class Known:
    """What the catalog holds under the keys of a batch, and a version above all that it gave before."""

    version: int
    studies: Mapping[StudyKey, StudyRow]
    series: Mapping[SeriesKey, SeriesRow]
    shown: Mapping[InstanceKey, Content]
    lost: Mapping[InstanceKey, tuple[ConflictRow, ...]]


@dataclass(frozen=True)
class SeriesTotals:
    """What the rows of a series' shown instances add up to."""

    instances: int = 0
    size_bytes: int = 0
    sop_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyState:
    """A study as it stands: rows (none when nothing of it came), its last revision, and a version above all others.

    `shown` has a (series UID, SOP UID, data hash) for each shown instance.
    """

    version: int
    study: StudyRow | None
    series: tuple[SeriesRow, ...]
    shown: tuple[tuple[str, str, str], ...]
    last: RevisionRow | None


class CatalogTables(Protocol):
    """The catalog's tables inside one transaction that holds a shard.

    Every method raises Rejected when the database refuses the data for what it is, Unavailable when it cannot answer.
    """

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what was written inside when it is left by an exception."""

    def known(self, keys: Collection[InstanceKey]) -> Known:
        """Return what these instances and their studies (with every series of them) stand at."""

    def put_instances(
        self, shown: Collection[InstanceRow], lost: Collection[ConflictRow], cleared: Collection[tuple[str, ...]]
    ) -> None:
        """Write instances and conflicts; `cleared` are keys of conflicts (an instance's, data hash) that are none now."""

    def put_transfers(self, rows: Collection[TransferRow]) -> None:
        """Write how transfers ended; of one transfer's ends for a study the greatest (ended_at, event id) stays."""

    def put_quarantine(self, rows: Collection[QuarantineRow]) -> None:
        """Write what is or was kept aside; of one content's the greatest (stored_at, occurred_at, event id) stays."""

    def series_totals(self, keys: Collection[SeriesKey]) -> dict[SeriesKey, SeriesTotals]:
        """Count these series' instances anew, also where none is left."""

    def put_studies(self, studies: Collection[StudyRow], series: Collection[SeriesRow]) -> None:
        """Write studies and series."""

    def versions(self, studies: Collection[StudyKey]) -> dict[StudyKey, int]:
        """Return the version of each of these studies that has a row."""

    def state(self, study: StudyKey) -> StudyState:
        """Return the study as it stands."""

    def put_revision(self, row: RevisionRow) -> None:
        """Add a revision."""

    def revisions(self, shard: int, above: int, most: int) -> tuple[RevisionRow, ...]:
        """Return the shard's revisions with a version above this one, lowest first."""


class Catalog(Protocol):
    """The catalog's database, for its one writer per shard."""

    def transaction(self, shard: int) -> AbstractContextManager[CatalogTables]:
        """Hold the shard, so that an attempt that is dying elsewhere cannot write after this one; commit on leaving."""


@dataclass(frozen=True)
class ConflictPair:
    """Two contents under one instance's UIDs."""

    shown: Content
    lost: ConflictRow


class HiddenRows(Protocol):
    """What is kept and not shown, for operators: of one tenant, or of all where it is None.

    Every method gives at most so many, the latest first, and raises Unavailable when the catalog does not answer.
    """

    def quarantined(
        self, tenant: str | None, most: int, *, beginning: str = "", held_at: datetime | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return what is or was in quarantine, under hashes that begin so; only what is held at a moment, if one is given."""

    def conflicts(self, tenant: str | None, most: int, *, sop_uid: str | None = None) -> tuple[ConflictPair, ...]:
        """Return conflicts; those of one instance's UID, in whatever study, if it is given."""


@dataclass(frozen=True)
class StudyResult:
    """What the catalog says of a study: its attributes as DICOM JSON text, and what is derived from its rows."""

    attributes: str = field(repr=False)
    modalities: Sequence[str]
    sop_classes: Sequence[str]
    series: int
    instances: int


@dataclass(frozen=True)
class SeriesResult:
    """What the catalog says of a series: its attributes as DICOM JSON text, and how many instances it shows."""

    attributes: str = field(repr=False)
    instances: int


@dataclass(frozen=True)
class InstanceResult:
    """What the catalog says of an instance: its attributes as DICOM JSON text, and how it lies in the store."""

    attributes: str = field(repr=False)
    transfer_syntax: str
    tier: str


@dataclass(frozen=True)
class Hit:
    """One result: the UIDs down to its level, and the facts of each level that belongs into the answer."""

    study_uid: str
    series_uid: str | None = None
    sop_uid: str | None = None
    study: StudyResult | None = None
    series: SeriesResult | None = None
    instance: InstanceResult | None = None


@dataclass(frozen=True)
class Page:
    """Results in a stable order, and how many more there are after them."""

    hits: tuple[Hit, ...]
    remaining: int


@dataclass(frozen=True)
class Location:
    """Where a shown instance lies and what is needed to serve it; frames as operators/dicom/frames.py packs them."""

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


class CatalogQueries(Protocol):
    """Reading the catalog, one tenant at a time. Every method raises Unavailable when it does not answer in time."""

    async def search(self, tenant: str, query: Query) -> Page:
        """Return the page of shown studies, series or instances that the query asks for."""

    async def locate(self, tenant: str, study_uid: str, series_uid: str | None = None) -> tuple[Location, ...]:
        """Return a study's or series' shown instances by series and instance number, without their frames."""

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        """Return one shown instance with its frames; None when it is not there."""

    async def check(self) -> None:
        """Return when the catalog answers."""
