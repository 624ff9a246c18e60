"""The catalog's writer and its hidden rows in memory: the same transactions over rows in dicts."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from operators.catalog.ports import ConflictPair, KnownRows, SeriesTotals, StudyState
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
from operators.connectors.memory.stores import Failing
from operators.errors import Rejected

CONTENT = tuple(each.name for each in fields(Content))


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
    version: int = 0

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

    def known(self, keys: Collection[InstanceKey]) -> KnownRows:
        """Return the contents under these keys, and their studies with all series."""
        studies = {(key.tenant, key.study_uid) for key in keys}
        return KnownRows(
            version=self._next_version(),
            studies={StudyKey(*key): self.studies[key] for key in studies & self.studies.keys()},
            series={SeriesKey(*key): row for key, row in self.series.items() if key[:2] in studies},
            shown={key: _content(self.instances[key]) for key in keys if key in self.instances},
            lost={key: self._lost(key) for key in keys},
        )

    def put_instances(
        self, shown: Collection[InstanceRow], lost: Collection[ConflictRow], cleared: Collection[tuple[str, ...]]
    ) -> None:
        """Write instances and conflicts."""
        _refuse_nul(*shown, *lost)
        self.instances.update({(row.tenant, row.study_uid, row.sop_uid): row for row in shown})
        self.conflicts.update({(row.tenant, row.study_uid, row.sop_uid, row.data_hash): row for row in lost})
        self.conflicts = {key: row for key, row in self.conflicts.items() if key not in set(cleared)}

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

    def series_totals(self, keys: Collection[SeriesKey]) -> dict[SeriesKey, SeriesTotals]:
        """Return the totals of these series."""
        return {key: _totals_of([row for row in self.instances.values() if _series_key(row) == key]) for key in keys}

    def put_studies(self, studies: Collection[StudyRow], series: Collection[SeriesRow]) -> None:
        """Write studies and series."""
        self.studies.update({(row.tenant, row.study_uid): row for row in studies})
        self.series.update({(row.tenant, row.study_uid, row.series_uid): row for row in series})

    def versions(self, studies: Collection[StudyKey]) -> dict[StudyKey, int]:
        """Return the version of each of these studies that has a row."""
        return {key: self.studies[key].version for key in studies if key in self.studies}

    def state(self, study: StudyKey) -> StudyState:
        """Return the present state of a study."""
        revisions = [row for key, row in self.revision_rows.items() if key[:2] == study]
        return StudyState(
            version=self._next_version(),
            study=self.studies.get(study),
            series=tuple(row for key, row in self.series.items() if key[:2] == study),
            shown=tuple(
                (row.series_uid, row.sop_uid, row.data_hash) for key, row in self.instances.items() if key[:2] == study
            ),
            last=max(revisions, key=lambda row: row.revision, default=None),
        )

    def put_revision(self, row: RevisionRow) -> None:
        """Add a revision."""
        self.revision_rows[row.tenant, row.study_uid, row.revision] = row

    def revisions(self, shard: int, above: int, most: int) -> tuple[RevisionRow, ...]:
        """Return the shard's revisions with versions above `above`, in order of version, at most `most`."""
        found = [row for row in self.revision_rows.values() if row.shard == shard and row.version > above]
        return tuple(sorted(found, key=lambda row: row.version)[:most])

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _lost(self, key: InstanceKey) -> tuple[ConflictRow, ...]:
        return tuple(row for conflict, row in self.conflicts.items() if conflict[:3] == key)


@dataclass
class MemoryCatalog(Failing):
    """A Catalog in memory."""

    tables: MemoryTables = field(default_factory=MemoryTables)

    @contextmanager
    def transaction(self, shard: int) -> Iterator[MemoryTables]:  # noqa: ARG002  transactions run one at a time
        """Open a transaction that commits at the end of the block, and is undone by an exception."""
        self.before_request("catalog")
        with self.tables.savepoint():
            yield self.tables
        self.after_request("catalog")


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
        return tuple(ConflictPair(_content(instances[row.tenant, row.study_uid, row.sop_uid]), row) for row in latest)


def _content(row: InstanceRow) -> Content:
    return Content(**{name: getattr(row, name) for name in CONTENT})


def _refuse_nul(*rows: Any) -> None:
    if any(isinstance(value, str) and "\0" in value for row in rows for value in row.__dict__.values()):
        raise Rejected("refused-by-the-database")


def _series_key(row: InstanceRow) -> SeriesKey:
    return SeriesKey(row.tenant, row.study_uid, row.series_uid)


def _totals_of(rows: Collection[Any]) -> SeriesTotals:
    classes = tuple(sorted({row.sop_class for row in rows}))
    return SeriesTotals(len(rows), sum(row.size_bytes for row in rows), classes)
