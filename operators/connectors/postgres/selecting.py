"""Selecting whole rows: the columns of a row's class, and the row of their values."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any, LiteralString, TypeVar

from psycopg import sql

from operators.catalog.ports import ConflictPair
from operators.catalog.rows import ConflictRow, Content, RevisionRow

T = TypeVar("T")


def columns_of(kind: type[Any], table: LiteralString, without: Collection[str] = ()) -> sql.Composed:
    """Return the columns of a class of rows, in the order of its fields, NULL for the fields in `without`."""
    names = (each.name for each in fields(kind))
    return sql.SQL(", ").join(sql.NULL if name in without else sql.Identifier(table, name) for name in names)


def row_of(kind: type[T], values: tuple[Any, ...]) -> T:
    """Return the row of the values of these columns; a row has tuples where the database has lists."""
    lists = (tuple(value) if isinstance(value, list) else value for value in values)
    return kind(**dict(zip((each.name for each in fields(kind)), lists, strict=True)))  # type: ignore[arg-type]


# Of a tenant's study.
LAST_REVISION = (
    sql.SQL("SELECT {} FROM revision WHERE tenant = %s AND study_uid = %s ORDER BY revision DESC LIMIT 1")
    .format(columns_of(RevisionRow, "revision"))
    .as_bytes()
)
# The columns of a conflict that is joined with the instance's row.
PAIR_COLUMNS = sql.SQL(", ").join([columns_of(Content, "instance"), columns_of(ConflictRow, "conflict")])
CONTENT_WIDTH = len(fields(Content))


def pair_of(values: tuple[Any, ...]) -> ConflictPair:
    """Return the conflict of the values of PAIR_COLUMNS."""
    return ConflictPair(row_of(Content, values[:CONTENT_WIDTH]), row_of(ConflictRow, values[CONTENT_WIDTH:]))
