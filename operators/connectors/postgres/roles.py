"""The catalog's database and its roles on a server that is there: made where they are missing, with their rights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection, errors, sql

from operators.connectors.postgres.connecting import BLAMES_MOMENT, connect, unavailable
from schemas.settings.servers import CatalogSettings, RoleSettings

# Every server has this database.
MAINTENANCE = "postgres"
APPLICATION = "fluoro-roles"
# The first release with a locale of its own that knows the letters of all scripts and orders by code points.
BUILTIN_LOCALE = 170000
DATABASES = {
    True: "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
    False: "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
}
# The functions of conditions for which row-level security should let indexes be used (DECISIONS.md, 6).
LEAKPROOF = ("textlike(text, text)", "arrayoverlap(anyarray, anyarray)")
NOT_LEAKPROOF = (
    "WARNING: functions are not LEAKPROOF, so that searches by a part of a text or by a modality read whole tables; have"
    " a superuser run in database {}: {}"
)


class RightMissing(Exception):
    """The role of the settings may not do what is needed; the message is one line."""


def prepare_roles(settings: CatalogSettings, passwords: RoleSettings) -> list[str]:
    """Make the database and the roles writer and reader where they are missing, and give them passwords and rights.

    Returns a line for each. Raises RightMissing and Unavailable.
    """
    with failures_of(settings):
        done = [_make_database(settings)]
        with connect(settings, APPLICATION, "") as connection:
            for role, password in (("writer", passwords.writer_password), ("reader", passwords.reader_password)):
                done.append(_make_role(connection, role, password))
                rights = sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}")
                connection.execute(rights.format(sql.Identifier(settings.database), sql.Identifier(role)))
            done.append(_mark_all_leakproof(connection, settings.database))
    return [line for line in done if line]


@contextmanager
def failures_of(settings: CatalogSettings) -> Iterator[None]:
    """Raise RightMissing for a refusal of PostgreSQL to this role, and Unavailable for what may pass."""
    try:
        yield
    except (errors.InsufficientPrivilege, errors.UndefinedObject) as error:
        # These details and hints name rights and roles, and no row.
        told = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
        cause = "; ".join(text.rstrip(".") for text in told if text)
        raise RightMissing(f"{settings.host}:{settings.port}, role {settings.user}: {cause}") from error
    except BLAMES_MOMENT as error:
        raise unavailable(settings, error) from error


def _make_database(settings: CatalogSettings) -> str:
    try:
        connect(settings, APPLICATION, "").close()
    except psycopg.OperationalError as error:
        if f'database "{settings.database}" does not exist' not in str(error):
            raise
        with connect(replace(settings, database=MAINTENANCE), APPLICATION, "", autocommit=True) as connection:
            statement = DATABASES[connection.info.server_version >= BUILTIN_LOCALE]
            connection.execute(sql.SQL(statement).format(sql.Identifier(settings.database)))
        return f"database {settings.database}: made"
    return f"database {settings.database}: is there"


def _make_role(connection: Connection[tuple[Any, ...]], role: str, password: str) -> str:
    is_there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount
    if not (password or is_there):
        raise RightMissing(f"FLUORO_ROLES_{role.upper()}_PASSWORD: should be set, since role {role} is not there yet")
    if not password:
        return f"role {role}: is there, and keeps its password"
    # The server and its log see only the verifier.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = "ALTER ROLE {} LOGIN PASSWORD {}" if is_there else "CREATE ROLE {} LOGIN PASSWORD {}"
    connection.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(verifier)))
    return f"role {role}: {'has' if is_there else 'made, with'} the password of the settings"


def _mark_all_leakproof(connection: Connection[tuple[Any, ...]], database: str) -> str:
    """Mark the functions LEAKPROOF that are not, which only a superuser may; else return a warning."""
    asked = sql.SQL("SELECT proleakproof FROM pg_proc WHERE oid = {}::regprocedure")
    missing = [
        each for each in LEAKPROOF if connection.execute(asked.format(f"pg_catalog.{each}")).fetchone() != (True,)
    ]
    statements = "; ".join(f"ALTER FUNCTION pg_catalog.{each} LEAKPROOF" for each in missing)
    if not missing:
        return ""
    try:
        with connection.transaction():
            connection.execute(statements.encode())
    except errors.InsufficientPrivilege:
        return NOT_LEAKPROOF.format(database, statements)
    return f"functions {', '.join(missing)}: are LEAKPROOF now"
