"""Reading the rows in PostgreSQL that queries do not show, of all tenants; only the role writer may read them."""

from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime
from typing import Any, LiteralString, TypeVar

from psycopg import Connection, sql

from operators.catalog.ports import ConflictPair
from operators.catalog.rows import ConflictRow, Content, QuarantineRow, TransferRow
from operators.connectors.postgres.connecting import connected
from schemas.settings.servers import CatalogSettings

T = TypeVar("T")

OPTIONS = "-c timezone=UTC -c default_transaction_read_only=on -c statement_timeout={ms}"


class PostgresHiddenRows:
    """A HiddenRows that opens a connection for each question, because questions are rare."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings

    def quarantined(
        self, tenant: str | None, most: int, *, beginning: str = "", held_at: datetime | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return contents that are or were in quarantine, the latest first."""
        asked = {"tenant": tenant, "beginning": beginning, "held_at": held_at, "most": most}
        with self._connected() as connection:
            return tuple(_row(QuarantineRow, row) for row in connection.execute(QUARANTINED, asked))

    def transfers(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[TransferRow, ...]:
        """Return the transfers that ended in this time, the latest first."""
        asked = {"tenant": tenant, "since": since, "until": until, "sender": sender, "most": most}
        with self._connected() as connection:
            return tuple(_row(TransferRow, row) for row in connection.execute(TRANSFERS, asked))

    def conflicts(self, tenant: str | None, most: int, *, sop_uid: str | None = None) -> tuple[ConflictPair, ...]:
        """Return conflicts, the latest first."""
        asked = {"tenant": tenant, "sop_uid": sop_uid, "most": most}
        with self._connected() as connection:
            return tuple(
                ConflictPair(_row(Content, row[:CONTENT_WIDTH]), _row(ConflictRow, row[CONTENT_WIDTH:]))
                for row in connection.execute(CONFLICTS, asked)
            )

    def _connected(self) -> AbstractContextManager[Connection[tuple[Any, ...]]]:
        return connected(self._settings, "fluoro-operator", OPTIONS)


def _row(kind: type[T], values: tuple[Any, ...]) -> T:
    return kind(**dict(zip((each.name for each in fields(kind)), values, strict=True)))  # type: ignore[arg-type]


def _columns(kind: type[Any], table: LiteralString) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, each.name) for each in fields(kind))


CONTENT_WIDTH = len(fields(Content))
QUARANTINED = sql.SQL("""
    SELECT {} FROM quarantine
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND starts_with(data_hash, %(beginning)s)
      AND (%(held_at)s::timestamptz IS NULL OR (state = 'held' AND until > %(held_at)s))
    ORDER BY stored_at DESC, tenant COLLATE "C", data_hash COLLATE "C" LIMIT %(most)s""").format(
    _columns(QuarantineRow, "quarantine")
)
TRANSFERS = sql.SQL("""
    SELECT {} FROM transfer
    WHERE ended_at >= %(since)s AND ended_at < %(until)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(sender)s::text IS NULL OR peer = %(sender)s OR calling_ae = %(sender)s)
    ORDER BY ended_at DESC, tenant COLLATE "C", transfer_id COLLATE "C", study_uid COLLATE "C"
    LIMIT %(most)s""").format(_columns(TransferRow, "transfer"))
CONFLICTS = sql.SQL("""
    SELECT {}, {} FROM conflict JOIN instance USING (tenant, study_uid, sop_uid)
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(sop_uid)s::text IS NULL OR sop_uid = %(sop_uid)s)
    ORDER BY conflict.stored_at DESC, tenant COLLATE "C", study_uid COLLATE "C", sop_uid COLLATE "C",
             conflict.data_hash COLLATE "C" LIMIT %(most)s""").format(
    _columns(Content, "instance"), _columns(ConflictRow, "conflict")
)
