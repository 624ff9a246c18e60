"""The rows of a study's history, picked from the catalog's tables in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from operators.catalog.history.order import HistoryRow, place_of
from operators.catalog.ports import QUARANTINED_TOLD, ConflictPair, HistoryRows
from operators.catalog.rows import (
    CommandRow,
    DueRow,
    QuarantineRow,
    RevisionRow,
    StudyKey,
    TransferRow,
)
from operators.connectors.memory.catalog import MemoryTables, content_of

T = TypeVar("T")


def history_rows(tables: MemoryTables, study: StudyKey, limit: int, offset: int) -> HistoryRows:
    """Return the rows of `limit` entries of a study's history, after the first `offset`."""
    found = sorted(_rows(tables, study), key=place_of)
    page = found[offset : offset + limit]
    commands, conflicts = _of(page, CommandRow), _of(page, ConflictPair)
    chosen = {str(row.arguments.get("sop_uid", "")) for row in commands}
    uids = {"", *chosen, *(pair.lost.sop_uid for pair in conflicts)}
    transfers = _of(page, TransferRow)
    return HistoryRows(
        is_known=bool(found) or study in tables.studies,
        total=len(found),
        commands=commands,
        conflicts=conflicts,
        transfers=transfers,
        dues=_of(page, DueRow),
        revisions=tuple(replace(row, series=()) for row in _of(page, RevisionRow)),
        decisions=tuple(
            replace(row, instance=None) for row in _of_study(tables.decisions, study) if row.sop_uid in uids
        ),
        quarantined=tuple(told for row in transfers for told in _quarantined(tables, row)),
    )


def _rows(tables: MemoryTables, study: StudyKey) -> Iterator[HistoryRow]:
    yield from _of_study(tables.commands, study)
    yield from _of_study(tables.dues, study)
    yield from _of_study(tables.revision_rows, study)
    yield from (row for row in tables.transfers.values() if (row.tenant, row.study_uid) == study)
    for lost in _of_study(tables.conflicts, study):
        yield ConflictPair(content_of(tables.instances[lost.tenant, lost.study_uid, lost.sop_uid]), lost)


def _of_study(rows: Mapping[Any, T], study: StudyKey) -> list[T]:
    return [row for key, row in rows.items() if key[:2] == study]


def _of(page: list[HistoryRow], kind: type[T]) -> tuple[T, ...]:
    return tuple(row for row in page if isinstance(row, kind))


def _quarantined(tables: MemoryTables, transfer: TransferRow) -> list[QuarantineRow]:
    of_transfer = (transfer.tenant, transfer.transfer_id)
    mine = (row for row in tables.quarantine.values() if (row.tenant, row.transfer_id) == of_transfer)
    return sorted(mine, key=lambda row: row.data_hash)[:QUARANTINED_TOLD]
