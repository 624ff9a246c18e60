"""The catalog's reader in memory: the same answers from rows in dicts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from operators.catalog.contents import CHOSEN_AT, Precedence
from operators.catalog.ports import (
    SHORT_FRAMES_BYTES,
    HistoryRows,
    Hit,
    InstanceResult,
    Location,
    Page,
    SeriesResult,
    StudyResult,
)
from operators.catalog.query import Match, Query, is_met
from operators.catalog.rows import DamageRow, InstanceRow, PolicyRow, RevisionRow, StudyKey
from operators.connectors.memory.catalog import MemoryTables
from operators.connectors.memory.history import history_rows
from operators.connectors.memory.stores import Failing
from operators.dicom.attributes import Level
from operators.dicom.element_json import DicomJson

# The fields of a location that an instance's row has by the same names.
LOCATED = tuple(each.name for each in fields(Location) if each.name not in ("frames", "is_marked"))
# The row of a result and the rows above it, by level.
Lineage = dict[Level, Any]


@dataclass
class MemoryQueries(Failing):
    """A CatalogQueries over rows in memory."""

    rows: MemoryTables = field(default_factory=MemoryTables)

    async def search(self, tenant: str, query: Query) -> Page:
        """Return the requested page of shown studies, series or instances."""
        self.before_request("catalog")
        compared = query.compared_matches
        found = [lineage for lineage in self._lineages(tenant, query.level) if _is_found(lineage, query)]
        found.sort(key=_order)
        if compared:
            found = [lineage for lineage in found[: query.most_compared] if _meets(lineage, compared)]
        end = query.offset + query.limit
        levels = (*query.parents, query.level)
        hits = tuple(_hit(lineage, query.level, levels) for lineage in found[query.offset : end])
        return Page(hits, min(max(len(found) - end, 0), query.most_counted))

    async def locate(self, tenant: str, study_uid: str, series_uid: str | None = None) -> tuple[Location, ...]:
        """Return the shown instances of a study or series, in order of series and instance number, without long frames."""
        self.before_request("catalog")
        found = [
            lineage
            for lineage in self._lineages(tenant, "instance")
            if lineage["instance"].study_uid == study_uid and series_uid in (None, lineage["instance"].series_uid)
        ]
        rows = [lineage["instance"] for lineage in sorted(found, key=_order)]
        return tuple(self._location(row, _short(row.frames)) for row in rows)

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        """Return a shown instance with its frames; None when there is no such instance."""
        self.before_request("catalog")
        row = self._shown_row((tenant, study_uid, sop_uid))
        return self._location(row, row.frames) if row and row.series_uid == series_uid else None

    async def marks(self, tenant: str, study_uid: str, object_key: str) -> tuple[DamageRow, ...]:
        """Return the marks of an object."""
        self.before_request("catalog")
        return tuple(row for key, row in sorted(self.rows.damage.items()) if key[:3] == (tenant, study_uid, object_key))

    async def shown(self, tenant: str, instances: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Precedence]:
        """Return the precedence of the shown content of each of these instances that the catalog shows."""
        self.before_request("catalog")
        rows = ((uids, self._shown_row((tenant, *uids))) for uids in instances)
        chosen = {(*key[:3], row.data_hash) for key, row in self.rows.decisions.items() if row.subject == "choice"}
        return {
            uids: Precedence(
                CHOSEN_AT if (tenant, *uids, row.data_hash) in chosen else row.stored_at,
                row.data_hash,
            )
            for uids, row in rows
            if row
        }

    async def history(self, tenant: str, study_uid: str, limit: int, offset: int = 0) -> HistoryRows:
        """Return the rows of a page of a study's history."""
        self.before_request("catalog")
        return history_rows(self.rows, StudyKey(tenant, study_uid), limit, offset)

    async def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, None if it has none."""
        self.before_request("catalog")
        rows = (row for key, row in self.rows.revision_rows.items() if key[:2] == (tenant, study_uid))
        return max(rows, key=lambda row: row.revision, default=None)

    async def policies(self, tenant: str) -> tuple[PolicyRow, ...]:
        """Return the policies in force."""
        self.before_request("catalog")
        return tuple(row for key, row in sorted(self.rows.policies.items()) if key[0] == tenant)

    async def check(self) -> None:
        """Return once the catalog has answered."""
        self.before_request("catalog")

    def _shown_row(self, key: tuple[str, str, str]) -> InstanceRow | None:
        """Return an instance's row if its study is not hidden."""
        return self.rows.instances.get(key) if key[:2] not in self.rows.hidden else None

    def _location(self, row: InstanceRow, frames: bytes) -> Location:
        place = (row.tenant, row.study_uid, row.object_key)
        is_marked = any(key[:3] == place for key in self.rows.damage)
        return Location(**{name: getattr(row, name) for name in LOCATED}, frames=frames, is_marked=is_marked)

    def _lineages(self, tenant: str, level: Level) -> Iterator[Lineage]:
        """Yield every shown row of a level together with the rows above it."""
        if level == "study":
            for owner, study in self.rows.studies.items():
                if owner[0] == tenant and study.instances:
                    yield {"study": study}
        elif level == "series":
            for key, row in self.rows.series.items():
                if key[0] == tenant and row.instances:
                    yield {"study": self.rows.studies[key[:2]], "series": row}
        else:
            for key, instance in self.rows.instances.items():
                if key[0] == tenant and self._shown_row(key):
                    series = self.rows.series[*key[:2], instance.series_uid]
                    yield {"study": self.rows.studies[key[:2]], "series": series, "instance": instance}


def _is_found(lineage: Lineage, query: Query) -> bool:
    own = lineage[query.level]
    if query.study_uid not in (None, own.study_uid):
        return False
    if query.series_uid is not None and own.series_uid != query.series_uid:
        return False
    return _meets(lineage, query.usual_matches)


def _meets(lineage: Lineage, matches: Iterable[Match]) -> bool:
    return all(is_met(match, getattr(lineage[match.attribute.level], match.attribute.column)) for match in matches)


def _order(lineage: Lineage) -> tuple[Any, ...]:
    """Return the sort key that orders as PostgreSQL does: newest study first, then numbers; unknown values last."""
    study, series, instance = lineage["study"], lineage.get("series"), lineage.get("instance")
    order: tuple[Any, ...] = (-study.study_date.toordinal() if study.study_date else 1, study.study_uid)
    if series:
        order += (*_last(series.series_number), series.series_uid)
    if instance:
        order += (*_last(instance.instance_number), instance.sop_uid)
    return order


def _last(number: int | None) -> tuple[bool, int]:
    return (number is None, number or 0)


def _hit(lineage: Lineage, level: Level, levels: tuple[Level, ...]) -> Hit:
    own = lineage[level]
    uids = (own.study_uid, getattr(own, "series_uid", None), getattr(own, "sop_uid", None))
    return Hit(*uids, **{result_level: RESULTS[result_level](lineage[result_level]) for result_level in levels})


def _text(attributes: DicomJson) -> str:
    return orjson.dumps(attributes).decode()


RESULTS: Mapping[Level, Any] = {
    "study": lambda row: StudyResult(_text(row.attributes), row.modalities, row.sop_classes, row.series, row.instances),
    "series": lambda row: SeriesResult(_text(row.attributes), row.instances),
    "instance": lambda row: InstanceResult(_text(row.attributes), row.transfer_syntax, row.tier),
}


def _short(frames: bytes) -> bytes:
    return frames if len(frames) <= SHORT_FRAMES_BYTES else b""
