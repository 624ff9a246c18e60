"""Reading the rows in PostgreSQL that queries do not show, of all tenants; only the role writer may read them."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar

from psycopg import Connection, sql

from operators.catalog.ports import ConflictPair
from operators.catalog.rows import CommandRow, DecisionRow, DueRow, QuarantineRow, RevisionRow, TransferRow
from operators.connectors.postgres.connecting import connected
from operators.connectors.postgres.selecting import LAST_REVISION, PAIR_COLUMNS, columns_of, pair_of, row_of
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
        return self._found(QuarantineRow, QUARANTINED, asked)

    def transfers(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[TransferRow, ...]:
        """Return the latest transfers that ended in this time."""
        asked = {"tenant": tenant, "since": since, "until": until, "sender": sender, "most": most}
        return self._found(TransferRow, TRANSFERS, asked)

    def refused(
        self, tenant: str | None, most: int, *, since: datetime, until: datetime, sender: str | None = None
    ) -> tuple[QuarantineRow, ...]:
        """Return the contents of the latest transfers in this time that are known by them alone."""
        asked = {"tenant": tenant, "since": since, "until": until, "sender": sender, "most": most}
        return self._found(QuarantineRow, REFUSED, asked)

    def commands(self, tenant: str, study_uid: str) -> tuple[CommandRow, ...]:
        """Return the commands for a study, the earliest first."""
        return self._found(CommandRow, COMMANDS, {"tenant": tenant, "study_uid": study_uid})

    def decisions(self, tenant: str, study_uid: str) -> tuple[DecisionRow, ...]:
        """Return what was decided of a study and its instances."""
        return self._found(DecisionRow, DECISIONS, {"tenant": tenant, "study_uid": study_uid})

    def dues(self, tenant: str, study_uid: str) -> tuple[DueRow, ...]:
        """Return the dues of a study that were applied, the earliest first."""
        return self._found(DueRow, DUES, {"tenant": tenant, "study_uid": study_uid})

    def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, None if it has none."""
        found = self._found(RevisionRow, LAST_REVISION, (tenant, study_uid))
        return next(iter(found), None)

    def conflicts(self, tenant: str | None, most: int, *, sop_uid: str | None = None) -> tuple[ConflictPair, ...]:
        """Return conflicts, the latest first."""
        asked = {"tenant": tenant, "sop_uid": sop_uid, "most": most}
        with self._connected() as connection:
            return tuple(map(pair_of, connection.execute(CONFLICTS, asked)))

    def _found(self, kind: type[T], statement: bytes | sql.Composed, asked: Any) -> tuple[T, ...]:
        with self._connected() as connection:
            return tuple(row_of(kind, row) for row in connection.execute(statement, asked))

    def _connected(self) -> AbstractContextManager[Connection[tuple[Any, ...]]]:
        return connected(self._settings, "fluoro-operator", OPTIONS)


QUARANTINED = sql.SQL("""
    SELECT {} FROM quarantine
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND starts_with(data_hash, %(beginning)s)
      AND (%(held_at)s::timestamptz IS NULL OR (state = 'held' AND until > %(held_at)s))
    ORDER BY stored_at DESC, tenant COLLATE "C", data_hash COLLATE "C" LIMIT %(most)s""").format(
    columns_of(QuarantineRow, "quarantine")
)
TRANSFERS = sql.SQL("""
    WITH latest AS (
        SELECT tenant, transfer_id, max(ended_at) AS at FROM transfer
        WHERE ended_at >= %(since)s AND ended_at < %(until)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
          AND (%(sender)s::text IS NULL OR peer = %(sender)s OR calling_ae = %(sender)s)
        GROUP BY tenant, transfer_id
        ORDER BY at DESC, tenant COLLATE "C", transfer_id COLLATE "C" LIMIT %(most)s)
    SELECT {} FROM transfer JOIN latest USING (tenant, transfer_id)
    ORDER BY at DESC, tenant COLLATE "C", transfer_id COLLATE "C", study_uid COLLATE "C"
    """).format(columns_of(TransferRow, "transfer"))
REFUSED = sql.SQL("""
    WITH found AS (
        SELECT * FROM quarantine
        WHERE received_at >= %(since)s AND received_at < %(until)s
          AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
          AND (%(sender)s::text IS NULL OR calling_ae = %(sender)s)
          AND NOT EXISTS (SELECT FROM transfer WHERE transfer.tenant = quarantine.tenant
                                                 AND transfer.transfer_id = quarantine.transfer_id)),
    latest AS (
        SELECT tenant, transfer_id, max(received_at) AS at FROM found GROUP BY tenant, transfer_id
        ORDER BY at DESC, tenant COLLATE "C", transfer_id COLLATE "C" LIMIT %(most)s)
    SELECT {} FROM found JOIN latest USING (tenant, transfer_id)
    ORDER BY at DESC, tenant COLLATE "C", transfer_id COLLATE "C", data_hash COLLATE "C"
    """).format(columns_of(QuarantineRow, "found"))
COMMANDS = sql.SQL("""
    SELECT {} FROM command WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s ORDER BY occurred_at, command_id
    """).format(columns_of(CommandRow, "command"))
DECISIONS = sql.SQL("""
    SELECT {} FROM decision WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s
    ORDER BY sop_uid COLLATE "C", subject COLLATE "C", data_hash COLLATE "C"
    """).format(columns_of(DecisionRow, "decision"))
DUES = sql.SQL("""
    SELECT {} FROM due WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s ORDER BY due_at, event_id
    """).format(columns_of(DueRow, "due"))
CONFLICTS = sql.SQL("""
    SELECT {} FROM conflict JOIN instance USING (tenant, study_uid, sop_uid)
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(sop_uid)s::text IS NULL OR sop_uid = %(sop_uid)s)
    ORDER BY conflict.stored_at DESC, tenant COLLATE "C", study_uid COLLATE "C", sop_uid COLLATE "C",
             conflict.data_hash COLLATE "C" LIMIT %(most)s""").format(PAIR_COLUMNS)
