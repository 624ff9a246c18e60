"""Migrating the catalog's tables to the newest DDL as the role owner; several processes may do it at the same time."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

import schemas
from operators.connectors.postgres.connecting import parameters, unavailable
from schemas.settings.servers import CatalogSettings

FOLDER = Path(schemas.__file__).parent / "catalog"
LOCK = 0x666C756F64646C

APPLIED = """
    CREATE TABLE IF NOT EXISTS applied_ddl (
        number integer PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
    )"""


class SchemaMismatch(Exception):
    """The database and the DDL files do not fit together; the message is one line with the reason."""


@dataclass(frozen=True)
class Migration:
    """One DDL file, such as `0001_catalog.sql`: its number and its text."""

    number: int
    text: str

    @property
    def sha256(self) -> str:
        """Return the digest that shows if the file was changed after it was applied."""
        return sha256(self.text.encode()).hexdigest()


async def apply(settings: CatalogSettings, folder: Path = FOLDER) -> list[int]:
    """Apply the migrations that the database does not have, all of them or none; return their numbers.

    Raises SchemaMismatch when an applied file was changed later, or the database has migrations that the folder does
    not have. Raises Unavailable when the database does not answer.
    """
    try:
        connection = await AsyncConnection.connect(**parameters(settings, "fluoro-migrations"))
        async with connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            return await _apply_new(connection, read_migrations(folder))
    except psycopg.OperationalError as error:
        raise unavailable(settings, error) from error


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of a folder, in order; raises SchemaMismatch when a number is missing or used twice."""
    found = tuple(Migration(int(path.name.split("_")[0]), path.read_text()) for path in sorted(folder.glob("*.sql")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaMismatch("number the DDL files 1, 2, 3 ... without a gap")
    return found


async def _apply_new(connection: AsyncConnection[tuple[Any, ...]], wanted: tuple[Migration, ...]) -> list[int]:
    await connection.execute(APPLIED)
    rows = await (await connection.execute("SELECT number, sha256 FROM applied_ddl")).fetchall()
    applied: dict[int, str] = dict(rows)
    _check(applied, wanted)
    for migration in wanted[len(applied) :]:
        # Plain text without parameters, because a file holds several statements.
        await connection.execute(sql.SQL(migration.text))
        await connection.execute("INSERT INTO applied_ddl VALUES (%s, %s)", (migration.number, migration.sha256))
    return [migration.number for migration in wanted[len(applied) :]]


def _check(applied: dict[int, str], wanted: tuple[Migration, ...]) -> None:
    if len(applied) > len(wanted):
        raise SchemaMismatch(
            f"the database has DDL {max(applied)}, but this release only {len(wanted)}: start the newer release"
        )
    changed = [
        migration.number for migration in wanted if applied.get(migration.number, migration.sha256) != migration.sha256
    ]
    if changed:
        raise SchemaMismatch(f"DDL {changed[0]} was changed after it was applied: add a new file instead")
