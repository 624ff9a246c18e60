"""Reading the rows of a study's history as the role reader: the places of a page first, then the rows that lie there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection, sql

from operators.catalog.history.order import KINDS
from operators.catalog.ports import QUARANTINED_TOLD, HistoryRows
from operators.catalog.rows import (
    CommandRow,
    DecisionRow,
    DueRow,
    QuarantineRow,
    RevisionRow,
    TransferRow,
)
from operators.connectors.postgres.connecting import SET_TENANT
from operators.connectors.postgres.selecting import PAIR_COLUMNS, columns_of, pair_of, row_of

T = TypeVar("T")
Row = tuple[Any, ...]
Asked = dict[str, Any]

# All statements of a history see one state of the catalog.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

OF_STUDY = sql.SQL("tenant = %(tenant)s AND study_uid = %(study_uid)s")
# Each kind's entries with their places, as place_of() has them: moment, kind, name, content, number.
ENTRIES: Mapping[str, LiteralString] = {
    "command": "SELECT occurred_at AS at, {} AS kind, command_id::text AS name, '' AS content, 0 AS number FROM command",
    "conflict": """SELECT greatest(instance.stored_at, conflict.stored_at), {}, sop_uid, conflict.data_hash, 0
        FROM conflict JOIN instance USING (tenant, study_uid, sop_uid)""",
    "transfer": "SELECT ended_at, {}, transfer_id, '', 0 FROM transfer",
    "due": "SELECT due_at, {}, event_id::text, '', 0 FROM due",
    "revision": "SELECT settled_at, {}, '', '', revision FROM revision",
}
ENTRY = sql.SQL(" UNION ALL ").join(
    sql.SQL("{} WHERE {}").format(sql.SQL(ENTRIES[kind]).format(number), OF_STUDY) for number, kind in enumerate(KINDS)
)
COUNT = sql.SQL("SELECT count(*), EXISTS (SELECT FROM study WHERE {}) FROM ({}) AS entry").format(OF_STUDY, ENTRY)
PAGE = sql.SQL("""
    SELECT kind, name, content, number FROM ({}) AS entry
    ORDER BY at, kind, name COLLATE "C", content COLLATE "C", number LIMIT %(limit)s OFFSET %(offset)s
    """).format(ENTRY)


def _of_page(columns: sql.Composed, table: LiteralString, keys: LiteralString) -> sql.Composed:
    """Return the statement that selects those rows of a study that have these keys."""
    return sql.SQL("SELECT {} FROM {} WHERE {} AND {}").format(columns, sql.SQL(table), OF_STUDY, sql.SQL(keys))


COMMANDS = _of_page(columns_of(CommandRow, "command"), "command", "command_id = ANY(%(command)s::uuid[])")
CONFLICTS = _of_page(
    PAIR_COLUMNS,
    "conflict JOIN instance USING (tenant, study_uid, sop_uid)",
    "(sop_uid, conflict.data_hash) IN (SELECT * FROM unnest(%(conflict)s::text[], %(content)s::text[]))",
)
TRANSFERS = _of_page(columns_of(TransferRow, "transfer"), "transfer", "transfer_id = ANY(%(transfer)s)")
DUES = _of_page(columns_of(DueRow, "due"), "due", "event_id = ANY(%(due)s::uuid[])")
# Nothing is told of a revision's series, nor of a decision's instance.
REVISIONS = _of_page(columns_of(RevisionRow, "revision", {"series"}), "revision", "revision = ANY(%(revision)s)")
DECISIONS = _of_page(columns_of(DecisionRow, "decision", {"instance"}), "decision", "sop_uid = ANY(%(instances)s)")
QUARANTINED = sql.SQL("""
    SELECT {} FROM unnest(%(transfer)s::text[]) AS told (transfer_id) CROSS JOIN LATERAL (
        SELECT * FROM quarantine AS one WHERE one.tenant = %(tenant)s AND one.transfer_id = told.transfer_id
        ORDER BY data_hash COLLATE "C" LIMIT {}) AS quarantine
    """).format(columns_of(QuarantineRow, "quarantine"), QUARANTINED_TOLD)


async def read_history(
    connection: AsyncConnection[Row], tenant: str, study_uid: str, limit: int, offset: int
) -> HistoryRows:
    """Return the rows of `limit` entries of a study's history, after the first `offset`, in a transaction of its own."""
    asked: Asked = {"tenant": tenant, "study_uid": study_uid, "limit": limit, "offset": offset}
    async with connection.transaction():
        await connection.execute(SNAPSHOT)
        await connection.execute(SET_TENANT, (tenant,))
        ((total, is_stored),) = await _fetch(connection, COUNT, asked)
        places = await _fetch(connection, PAGE, asked)
        return await _rows(connection, asked | _keys(places), total, is_known=is_stored or total > 0)


def _keys(places: list[Row]) -> Asked:
    """Return the keys of a page's rows by their kind; those of conflicts are `conflict` and `content`."""
    of_kind = {kind: [place for place in places if place[0] == number] for number, kind in enumerate(KINDS)}
    names = {kind: [name for _, name, _, _ in found] for kind, found in of_kind.items()}
    contents, revisions = ([place[at] for place in of_kind[kind]] for kind, at in (("conflict", 2), ("revision", 3)))
    return names | {"content": contents, "revision": revisions}


async def _rows(connection: AsyncConnection[Row], asked: Asked, total: int, *, is_known: bool) -> HistoryRows:
    commands = await _found(connection, CommandRow, COMMANDS, asked)
    revisions = await _found(connection, RevisionRow, REVISIONS, asked)
    instances = ["", *(row.arguments.get("sop_uid", "") for row in commands), *asked["conflict"]]
    return HistoryRows(
        is_known=is_known,
        total=total,
        commands=commands,
        conflicts=tuple(pair_of(row) for row in await _fetch(connection, CONFLICTS, asked)),
        transfers=await _found(connection, TransferRow, TRANSFERS, asked),
        dues=await _found(connection, DueRow, DUES, asked),
        revisions=tuple(replace(row, series=()) for row in revisions),
        decisions=await _found(connection, DecisionRow, DECISIONS, asked | {"instances": instances}),
        quarantined=await _found(connection, QuarantineRow, QUARANTINED, asked),
    )


async def _found(
    connection: AsyncConnection[Row], kind: type[T], statement: sql.Composed, asked: Asked
) -> tuple[T, ...]:
    return tuple(row_of(kind, row) for row in await _fetch(connection, statement, asked))


async def _fetch(connection: AsyncConnection[Row], statement: sql.Composed, asked: Asked) -> list[Row]:
    return await (await connection.execute(statement, asked)).fetchall()
