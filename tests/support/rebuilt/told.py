"""What objects do not tell: the rows and columns in which an archive that is rebuilt may differ, and their words in the docs."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Row = dict[str, Any]
Dump = Mapping[str, list[Row]]

# Each point of the list in docs/operations.md, with the columns that it is about; "*" is all of a row.
REVISIONS = "Revisions before the last one, and those of a deleted study"
NOT_TOLD: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Versions": dict.fromkeys(("study", "series", "instance", "revision"), ("version",)),
    "Dues": {"due": ("*",)},
    REVISIONS: {
        "revision": ("revision", "shard", "signal", "due_event_id", "settled_at", "again"),
    },
    "How a transfer went": {
        "transfer": ("outcome", "began_at", "ended_at", "instances", "size_bytes", "peer", "address", "refused"),
    },
    "Repeats": {"instance": ("transfer_id",), "conflict": ("transfer_id",)},
    "What has left the quarantine": {},
}
# What is compared as it is, in an archive that was not wiped.
LIVING = ("Versions", "Dues")


def told(dump: Dump, points: Iterable[str] = NOT_TOLD, named: Collection[tuple[str, str]] = ()) -> dict[str, list[Row]]:
    """Return a dump as far as objects tell it, without the columns of some points.

    `named` are transfer and study of each envelope: with "Repeats", other transfers are left out.
    """
    columns: dict[str, set[str]] = {}
    for point in points:
        for table, names in NOT_TOLD[point].items():
            columns.setdefault(table, set()).update(names)
    every = {name: _without(rows, columns.get(name, set())) for name, rows in _chosen(dump, set(points), named).items()}
    return {name: rows for name, rows in every.items() if "*" not in columns.get(name, set())}


def _chosen(dump: Dump, points: set[str], named: Collection[tuple[str, str]]) -> dict[str, list[Row]]:
    """Return the rows that objects tell of."""
    rows = dict(dump)
    if REVISIONS in points:
        last: dict[tuple[str, str], Row] = {}
        for row in dump["revision"]:
            key = (row["tenant"], row["study_uid"])
            last[key] = max(last.get(key, row), row, key=lambda each: each["revision"])
        rows["revision"] = [row for row in last.values() if row["instances"]]
    if "Repeats" in points:
        rows["transfer"] = [row for row in dump["transfer"] if (row["transfer_id"], row["study_uid"]) in named]
    if "What has left the quarantine" in points:
        rows["quarantine"] = [row for row in dump.get("quarantine", []) if row["state"] == "held"]
    return rows


def _without(rows: Iterable[Row], columns: set[str]) -> list[Row]:
    kept = ({name: value for name, value in row.items() if name not in columns} for row in rows)
    return sorted(kept, key=repr)


def differences(before: Dump, after: Dump) -> list[str]:
    """Return a line for each row that is in one of two dumps alone."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        first, second = before.get(name, []), after.get(name, [])
        lines += [f"{name}: was {row}" for row in first if row not in second]
        lines += [f"{name}: is {row}" for row in second if row not in first]
    return lines
