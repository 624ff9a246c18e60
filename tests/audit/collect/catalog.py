"""The rows of an archive's catalog."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.audit.address import ArchiveAddress
from tests.audit.collect.topics import per_series
from tests.audit.snapshot import Command, Counts, InstanceRow, Name, QuarantineRow, Revision, Series, Study

QUERIES = {
    "instance": """SELECT tenant, study_uid, sop_uid, series_uid, sop_class, data_hash, object_key, size_bytes,
                          prefix_hash, prefix_length, header_length,
                          last_stored_at > stored_at AS is_stored_again FROM instance""",
    "conflict": "SELECT tenant, study_uid, sop_uid, data_hash, object_key FROM conflict",
    "quarantine": "SELECT tenant, data_hash, state, object_key, size_bytes, prefix_hash FROM quarantine",
    "study": "SELECT tenant, study_uid, modalities, sop_classes, series, instances, size_bytes FROM study",
    "series": "SELECT tenant, study_uid, series_uid, modality, instances, size_bytes FROM series",
    "revision": """SELECT tenant, study_uid, revision, version, digest, instances, size_bytes, series,
                          series_truncated, due_event_id::text AS due, again IS NOT NULL AS is_repeated FROM revision""",
    "command": "SELECT tenant, study_uid, command_id::text, action FROM command",
    "due": "SELECT tenant, study_uid, event_id::text, revision FROM due",
}


def catalog(address: ArchiveAddress, tenants: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a Snapshot that come from the catalog: every row of every tenant, in one transaction."""
    found: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in QUERIES}
    with psycopg.connect(
        host=address.setting("FLUORO_CATALOG_HOST"),
        port=address.setting("FLUORO_CATALOG_PORT"),
        dbname=address.setting("FLUORO_CATALOG_DATABASE", "fluoro"),
        user=address.setting("FLUORO_CATALOG_USER", "reader"),
        password=address.setting("FLUORO_CATALOG_PASSWORD"),
        connect_timeout=5,
        row_factory=dict_row,
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for tenant in tenants:
            # The reader sees one tenant at a time; another role sees the rows of all, each tenant's again and again.
            connection.execute("SELECT set_config('fluoro.tenant', %s, true)", [tenant])
            for table, query in QUERIES.items():
                found[table] |= {repr(row): row for row in connection.execute(query)}
    return snapshot_fields({table: list(rows.values()) for table, rows in found.items()})


Rows = list[dict[str, Any]]


def snapshot_fields(found: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the fields of a Snapshot that these tables hold."""
    return {
        "rows": tuple(instance_row(row) for row in found["instance"]),
        "conflict_keys": frozenset(row["object_key"] for row in found["conflict"]),
        "conflicts": tuple(
            (Name(row["tenant"], row["study_uid"], row["sop_uid"]), str(row["data_hash"])) for row in found["conflict"]
        ),
        "quarantine_rows": tuple(QuarantineRow(**row) for row in found["quarantine"]),
        "study_counts": {Study(row["tenant"], row["study_uid"]): study_counts(row) for row in found["study"]},
        "series_counts": {
            series_name(row): Counts(instances=row["instances"], size_bytes=row["size_bytes"])
            for row in found["series"]
        },
        "series_modality": {series_name(row): row["modality"] for row in found["series"]},
        "revisions": tuple(
            Revision(
                study=Study(row["tenant"], row["study_uid"]),
                number=row["revision"],
                series=per_series(row),
                **{name: row[name] for name in ("version", "digest", "instances", "size_bytes", "due", "is_repeated")},
            )
            for row in found["revision"]
        ),
        "command_rows": tuple(
            Command(Study(row["tenant"], row["study_uid"]), row["command_id"], row["action"])
            for row in found["command"]
        ),
        "due_rows": {
            (Study(row["tenant"], row["study_uid"]), row["event_id"]): row["revision"] for row in found["due"]
        },
    }


def instance_row(row: Mapping[str, Any]) -> InstanceRow:
    """Read an instance's row."""
    rest = {name: value for name, value in row.items() if name not in ("tenant", "study_uid", "sop_uid")}
    return InstanceRow(name=Name(row["tenant"], row["study_uid"], row["sop_uid"]), **rest)


def study_counts(row: Mapping[str, Any]) -> Counts:
    """Read the counts in a study's row."""
    return Counts(
        instances=row["instances"],
        size_bytes=row["size_bytes"],
        series=row["series"],
        modalities=tuple(sorted(row["modalities"])),
        sop_classes=tuple(sorted(row["sop_classes"])),
    )


def series_name(row: Mapping[str, Any]) -> Series:
    """Return the series that a row is about."""
    return Series(row["tenant"], row["study_uid"], row["series_uid"])
