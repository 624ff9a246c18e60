"""The rows in PostgreSQL that name stored objects, and the marks of damaged ones; as the role writer."""

from collections.abc import Callable, Collection
from typing import Any, Self, TypeVar

from psycopg import Connection, sql

from operators.catalog.rows import DamageRow, StudyKey
from operators.connectors.postgres.catalog import ALIVE
from operators.connectors.postgres.connecting import BLAMES_MOMENT, BLAMES_PREPARATION, connect, unavailable
from operators.connectors.postgres.selecting import columns_of, row_of
from operators.integrity.comparison import UNDESCRIBED, CatalogedObject, ContentBytes
from schemas.objects import command_key
from schemas.settings.servers import CatalogSettings

T = TypeVar("T")

OPTIONS = "-c timezone=UTC -c jit=off -c statement_timeout={ms}"


class PostgresCatalogObjects:
    """CatalogObjects over one connection, opened when needed and again after a loss; threads must not share it."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings
        self._connection: Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def studies(self, tenant: str | None, after: StudyKey | None, most: int) -> tuple[StudyKey, ...]:
        """Return the next studies after one."""
        asked = {"tenant": tenant, "after": after and after.tenant, "study": after and after.study_uid, "most": most}
        return tuple(StudyKey(*row) for row in self._rows(STUDIES, asked))

    def objects(self, study: StudyKey) -> tuple[CatalogedObject, ...]:
        """Return every object that a row of this study names."""
        asked = study._asdict()
        contents = (CatalogedObject(key, tier, ContentBytes(*of)) for key, tier, *of in self._rows(CONTENTS, asked))
        commands = (command_key(*study, str(command)) for (command,) in self._rows(COMMANDS, asked))
        return (*contents, *(CatalogedObject(key, "hot", UNDESCRIBED) for key in commands))

    def marks(self, study: StudyKey) -> tuple[DamageRow, ...]:
        """Return the marks of a study's objects."""
        return tuple(row_of(DamageRow, row) for row in self._rows(MARKS, study._asdict()))

    def mark(self, rows: Collection[DamageRow]) -> None:
        """Write marks."""
        self._write(MARK, rows)

    def unmark(self, rows: Collection[DamageRow]) -> None:
        """Remove these marks, unless they were written again later."""
        self._write(UNMARK, rows)

    def _rows(self, statement: bytes, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._asked(lambda connection: connection.execute(statement, asked).fetchall())

    def _write(self, statement: bytes, rows: Collection[DamageRow]) -> None:
        if rows:
            self._asked(lambda connection: connection.cursor().executemany(statement, [row.__dict__ for row in rows]))

    def _asked(self, ask: Callable[[Connection[tuple[Any, ...]]], T]) -> T:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._settings, "fluoro-verify", OPTIONS, autocommit=True, **ALIVE)
            return ask(self._connection)
        except (*BLAMES_MOMENT, *BLAMES_PREPARATION) as error:
            raise unavailable(self._settings, error) from error


# A row of a conflict does not say in which tier its object is.
CONTENTS = b"""
    SELECT object_key, tier, size_bytes, prefix_hash, data_hash FROM instance
    WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s
    UNION ALL
    SELECT object_key, NULL, size_bytes, prefix_hash, data_hash FROM conflict
    WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s"""
COMMANDS = b"SELECT command_id FROM command WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s"
# A study may have commands before its first instance.
STUDIES = b"""
    (SELECT tenant, study_uid FROM study
     WHERE (tenant, study_uid) > (coalesce(%(after)s, ''), coalesce(%(study)s, ''))
       AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) ORDER BY tenant, study_uid LIMIT %(most)s)
    UNION
    (SELECT DISTINCT tenant, study_uid FROM command
     WHERE (tenant, study_uid) > (coalesce(%(after)s, ''), coalesce(%(study)s, ''))
       AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) ORDER BY tenant, study_uid LIMIT %(most)s)
    ORDER BY tenant, study_uid LIMIT %(most)s"""
MARKS = (
    sql.SQL("""SELECT {} FROM damage WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s
    ORDER BY object_key COLLATE "C", tier COLLATE "C" """)
    .format(columns_of(DamageRow, "damage"))
    .as_bytes()
)
MARK = b"""
    INSERT INTO damage AS old (tenant, study_uid, object_key, tier, reason, modified_at, found_at)
    VALUES (%(tenant)s, %(study_uid)s, %(object_key)s, %(tier)s, %(reason)s, %(modified_at)s, %(found_at)s)
    ON CONFLICT (tenant, study_uid, object_key, tier)
    DO UPDATE SET reason = excluded.reason, modified_at = excluded.modified_at, found_at = excluded.found_at
    WHERE excluded.found_at > old.found_at"""
UNMARK = b"""
    DELETE FROM damage WHERE tenant = %(tenant)s AND study_uid = %(study_uid)s AND object_key = %(object_key)s
      AND tier = %(tier)s AND found_at <= %(found_at)s"""
