"""The rows of an archive's catalog."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.audit.address import ArchiveAddress
from tests.audit.checks.decisions import rules
from tests.audit.collect.records import per_series
from tests.audit.snapshot import (
    About,
    Command,
    Counts,
    Decision,
    InstanceRow,
    Name,
    QuarantineRow,
    Revision,
    Series,
    Study,
)

QUERIES = {
    "instance": """SELECT tenant, study_uid, sop_uid, series_uid, sop_class, data_hash, object_key, size_bytes,
                          prefix_hash, prefix_length, header_length, extract(epoch FROM stored_at)::float8 AS at,
                          last_stored_at > stored_at AS is_stored_again FROM instance""",
    "conflict": """SELECT tenant, study_uid, sop_uid, data_hash, object_key, extract(epoch FROM stored_at)::float8 AS at
                   FROM conflict""",
    "quarantine": """SELECT tenant, data_hash, state, object_key, size_bytes, prefix_hash,
                            extract(epoch FROM occurred_at)::float8 AS at FROM quarantine""",
    "study": "SELECT tenant, study_uid, modalities, sop_classes, series, instances, size_bytes FROM study",
    "series": "SELECT tenant, study_uid, series_uid, modality, instances, size_bytes FROM series",
    "revision": """SELECT tenant, study_uid, revision, version, digest, instances, size_bytes, series,
                          series_truncated, due_event_id::text AS due, again IS NOT NULL AS is_repeated FROM revision""",
    "command": """SELECT tenant, study_uid, command_id::text, action, extract(epoch FROM occurred_at)::float8 AS at
                  FROM command""",
    "due": """SELECT tenant, study_uid, event_id::text, revision, extract(epoch FROM due_at)::float8 AS at FROM due""",
    "transfer": "SELECT tenant, transfer_id, study_uid, extract(epoch FROM ended_at)::float8 AS at FROM transfer",
    "policy": "SELECT tenant, kind, name, version, rules, extract(epoch FROM occurred_at)::float8 AS at FROM policy",
    "decision": "SELECT tenant, study_uid, subject, sop_uid, data_hash, in_force, command_id::text FROM decision",
}
# The progress of the catalog job, which the role reader may not read.
APPLIED = (
    """SELECT topic, topic_id, "partition", max("offset") FROM applied_offset GROUP BY topic, topic_id, "partition" """
)
# Tables with a tenant whose rows are not closed to readers of other tenants, or by another condition than the tenant's.
OPEN = """SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'
          WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
            AND (NOT (c.relrowsecurity AND c.relforcerowsecurity)
                 OR EXISTS (SELECT FROM pg_policies p WHERE p.tablename = c.relname AND p.cmd IN ('SELECT', 'ALL')
                            AND p.qual NOT LIKE '%tenant = current_setting(''fluoro.tenant''%'
                            AND NOT p.roles <@ ARRAY['writer'::name]))"""
MAY_READ_PROGRESS = "SELECT has_table_privilege('applied_offset', 'SELECT') AS may_read"


def catalog(address: ArchiveAddress, tenants: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a Snapshot that come from the catalog: every row of every tenant, in one transaction."""
    found: dict[str, Rows] = {table: [] for table in QUERIES}
    with connected(address) as connection:
        for tenant in tenants:
            # The reader sees one tenant at a time; another role sees the rows of all, each tenant's again and again.
            connection.execute("SELECT set_config('fluoro.tenant', %s, true)", [tenant])
            for table, query in QUERIES.items():
                found[table] += connection.execute(query).fetchall()
    return snapshot_fields(found if len(tenants) == 1 else {table: distinct(rows) for table, rows in found.items()})


def distinct(rows: "Rows") -> "Rows":
    """Return each row once."""
    return list({repr(row): row for row in rows}.values())


def open_tables(address: ArchiveAddress) -> tuple[str, ...]:
    """Return the tables that show a reader the rows of other tenants."""
    with connected(address) as connection:
        return tuple(sorted(row["relname"] for row in connection.execute(OPEN)))


def applied(address: ArchiveAddress) -> dict[tuple[str, str, int], int] | None:
    """Return the last offset that the catalog job has applied, by topic, topic's id and partition; None for a reader."""
    with connected(address) as connection:
        if not any(row["may_read"] for row in connection.execute(MAY_READ_PROGRESS)):
            return None
        rows = connection.execute(APPLIED).fetchall()
    return {(row["topic"], row["topic_id"], row["partition"]): row["max"] for row in rows}


@contextmanager
def connected(address: ArchiveAddress) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """Connect to the catalog's database for one transaction that reads."""
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
        yield connection


Rows = list[dict[str, Any]]


def snapshot_fields(found: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the fields of a Snapshot that these tables hold."""
    return {
        "rows": tuple(instance_row(row) for row in found["instance"]),
        "conflict_keys": frozenset(row["object_key"] for row in found["conflict"]),
        "conflicts": tuple(
            (Name(row["tenant"], row["study_uid"], row["sop_uid"]), str(row["data_hash"])) for row in found["conflict"]
        ),
        "quarantine_rows": tuple(quarantine_row(row) for row in found["quarantine"]),
        "cataloged": dict(cataloged(found)),
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
        "decision_rows": {
            Decision(Study(row["tenant"], row["study_uid"]), row["subject"], row["sop_uid"], row["data_hash"]): (
                row["in_force"],
                row["command_id"],
            )
            for row in found["decision"]
        },
        "policy_rows": {
            (row["tenant"], row["kind"], row["name"]): (row["version"], rules(row["rules"])) for row in found["policy"]
        },
        "tenants": {table: frozenset(row["tenant"] for row in rows) for table, rows in found.items()},
        "due_rows": {
            (Study(row["tenant"], row["study_uid"]), row["event_id"]): row["revision"] for row in found["due"]
        },
    }


def cataloged(found: Mapping[str, Rows]) -> Iterator[tuple[About, float | None]]:
    """Yield what each row is about, and the Unix time of what it is made of."""
    for table in ("instance", "conflict"):
        for row in found[table]:
            yield ("instance", row["tenant"], row["study_uid"], row["sop_uid"], row["data_hash"]), row["at"]
    for row in found["transfer"]:
        yield ("transfer", row["tenant"], row["transfer_id"], row["study_uid"]), row["at"]
    for row in found["quarantine"]:
        yield ("quarantine", row["tenant"], row["data_hash"]), row["at"]
    for row in found["command"]:
        yield ("command", row["tenant"], row["study_uid"], row["command_id"]), row["at"]
    for row in found["due"]:
        yield ("due", row["tenant"], row["study_uid"], row["event_id"]), row["at"]
    for row in found["policy"]:
        named = ("policy", row["tenant"], row["kind"], row["name"])
        # The topic need not keep the records of earlier versions.
        yield from (((*named, version), None) for version in range(1, row["version"]))
        yield (*named, row["version"]), row["at"]


def quarantine_row(row: Mapping[str, Any]) -> QuarantineRow:
    """Read the row of a quarantined object."""
    return QuarantineRow(**{name: value for name, value in row.items() if name != "at"})


def instance_row(row: Mapping[str, Any]) -> InstanceRow:
    """Read an instance's row."""
    rest = {name: value for name, value in row.items() if name not in ("tenant", "study_uid", "sop_uid", "at")}
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
