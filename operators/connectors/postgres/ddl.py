"""Brings the catalog's tables to the newest DDL, as the role owner; any number of processes may try at once."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

import schemas
from operators.errors import Unavailable
from schemas.settings import CatalogSettings

FOLDER = Path(schemas.__file__).parent / "catalog"
CONNECT_S = 2
LOCK = 0x666C756F64646C

APPLIED = """
    CREATE TABLE IF NOT EXISTS applied_ddl (
        number integer PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
    )"""


class Refused(Exception):
    """The database and the DDL files do not belong together: one line that says why."""


@dataclass(frozen=True)
class Step:
    """One file, `0001_catalog.sql`: its number, its text."""

    number: int
    text: str

    @property
    def sha256(self) -> str:
        """Return what tells a file that was changed after it was applied."""
        return sha256(self.text.encode()).hexdigest()


async def apply(settings: CatalogSettings, folder: Path = FOLDER) -> None:
    """Apply what is new, all or nothing; nothing new is no change.

    Raises Refused when an applied file has changed since, or the database knows files that are not here;
    Unavailable when it does not answer.
    """
    try:
        connection = await AsyncConnection.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=settings.password,
            connect_timeout=CONNECT_S,
        )
        async with connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            await _bring_up(connection, steps(folder))
    except psycopg.OperationalError as error:
        raise Unavailable("catalog") from error


def steps(folder: Path) -> tuple[Step, ...]:
    """Read the folder's files in order; raises Refused when a number is missing or double."""
    found = tuple(Step(int(path.name.split("_")[0]), path.read_text()) for path in sorted(folder.glob("*.sql")))
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise Refused("the DDL files should be numbered 1, 2, 3 ... without a gap")
    return found


async def _bring_up(connection: AsyncConnection[tuple[Any, ...]], wanted: tuple[Step, ...]) -> None:
    await connection.execute(APPLIED)
    rows = await (await connection.execute("SELECT number, sha256 FROM applied_ddl")).fetchall()
    applied: dict[int, str] = dict(rows)
    _check(applied, wanted)
    for step in wanted[len(applied) :]:
        # Our own files, whole: several statements, so no parameters.
        await connection.execute(sql.SQL(step.text))
        await connection.execute("INSERT INTO applied_ddl VALUES (%s, %s)", (step.number, step.sha256))


def _check(applied: dict[int, str], wanted: tuple[Step, ...]) -> None:
    if len(applied) > len(wanted):
        raise Refused(f"the database is newer: it has DDL {max(applied)}, this program {len(wanted)}")
    changed = [step.number for step in wanted if applied.get(step.number, step.sha256) != step.sha256]
    if changed:
        raise Refused(f"DDL {changed[0]} was changed after it was applied: add a new file instead")
