"""Each row class has the columns of its table."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import schemas
from operators.catalog import rows

DDL = "".join(path.read_text() for path in sorted((Path(schemas.__file__).parent / "catalog").glob("*.sql")))
KINDS = (
    rows.StudyRow,
    rows.SeriesRow,
    rows.InstanceRow,
    rows.ConflictRow,
    rows.RevisionRow,
    rows.TransferRow,
    rows.QuarantineRow,
    rows.CommandRow,
    rows.DecisionRow,
    rows.DueRow,
)


# What a trigger sets, and no row class has.
SET_BY_THE_DATABASE = {"is_shown"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_row_has_the_columns_of_its_table(kind: type[Any]) -> None:
    table = kind.__name__.removesuffix("Row").lower()
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\)", DDL, re.DOTALL)
    assert body is not None
    columns = re.findall(
        r'^    "?([a-z_]+)"? +(?:text|date|time|json|int|big|uuid|bytea|boolean)', body[1], re.MULTILINE
    )
    columns += set(re.findall(rf"ALTER TABLE {table} ADD COLUMN ([a-z_]+)", DDL)) - SET_BY_THE_DATABASE

    assert sorted(column.name for column in fields(kind)) == sorted(columns)
