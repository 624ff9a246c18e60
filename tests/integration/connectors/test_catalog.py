"""The catalog's writer: one suite for PostgreSQL and its memory twin, then what only a database can do."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.catalog.ports import Catalog, CatalogTables, HiddenRows
from operators.catalog.rows import (
    ConflictRow,
    InstanceKey,
    InstanceRow,
    QuarantineRow,
    SeriesRow,
    StudyKey,
    StudyRow,
    TransferRow,
)
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from operators.connectors.memory.stores import Outage
from operators.connectors.postgres import migrations
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.errors import Rejected, Unavailable
from operators.stream.step import Flushed
from schemas.events import Event, Facts, RecordRejected, StudyCataloged, StudySettled
from schemas.settings.servers import CatalogSettings
from tests.support.worlds.catalog_histories import (
    HISTORIES,
    NOON,
    batches,
    due,
    ended,
    held,
    instance,
    numbered,
    quarantined,
    run,
    unversioned,
)

KEYS: dict[str, tuple[type[Any], int]] = {
    "study": (StudyRow, 2),
    "series": (SeriesRow, 3),
    "instance": (InstanceRow, 3),
    "conflict": (ConflictRow, 4),
    "transfer": (TransferRow, 3),
    "quarantine": (QuarantineRow, 2),
}
SHARDS = itertools.count(uuid4().int % 2**30)


@dataclass
class Desk:
    """A catalog, and a tenant and a shard in it that nobody else uses."""

    catalog: Catalog
    read: Callable[[str], dict[str, dict[Any, Any]]]
    tenant: str
    shard: int

    def run(self, *parts: list[Event], head: bytes | None = None) -> Flushed:
        """Flush these batches."""
        return run(self.catalog, [numbered(part, self.tenant) for part in parts], head, self.shard)

    @property
    def tables(self) -> dict[str, dict[Any, Any]]:
        """Everything the tables hold of the tenant, without versions."""
        return self.read(self.tenant)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows by key."""
        return [row for _, row in sorted(self.tables[table].items())]


def desk_at(catalog: Catalog, read: Callable[[str], dict[str, dict[Any, Any]]]) -> Desk:
    return Desk(catalog, read, f"test-{uuid4().hex[:20]}", next(SHARDS))


@pytest.fixture(scope="module")
def writer(request: pytest.FixtureRequest) -> CatalogSettings:
    settings: CatalogSettings = request.getfixturevalue("stack").catalog("writer")
    return settings


@pytest.fixture
def postgres(writer: CatalogSettings) -> Iterator[PostgresCatalog]:
    with PostgresCatalog(writer) as catalog:
        yield catalog


@pytest.fixture(params=["memory", "postgres"])
def desk(request: pytest.FixtureRequest) -> Desk:
    if request.param == "memory":
        catalog = MemoryCatalog()
        return desk_at(catalog, lambda _: held(catalog.tables))
    writer = request.getfixturevalue("writer")
    return desk_at(request.getfixturevalue("postgres"), lambda tenant: read_tables(writer, tenant))


def connect(settings: CatalogSettings) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=settings.host,
        port=settings.port,
        dbname=settings.database,
        user=settings.user,
        password=settings.password,
        autocommit=True,
        options="-c timezone=UTC",
    )


def read_tables(settings: CatalogSettings, tenant: str) -> dict[str, dict[Any, Any]]:
    with connect(settings) as connection:
        return {table: read_table(connection, table, tenant) for table in KEYS}


def read_table(connection: psycopg.Connection[tuple[Any, ...]], table: str, tenant: str) -> dict[Any, Any]:
    kind, width = KEYS[table]
    names = [one.name for one in fields(kind)]
    columns = ", ".join(f'"{name}"' for name in names)
    found = connection.execute(f"SELECT {columns} FROM {table} WHERE tenant = %s", (tenant,))  # noqa: S608
    rows = [
        kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in zip(names, row, strict=True)})
        for row in found
    ]
    key = KEY_COLUMNS[table]
    assert len(key) == width
    return {tuple(getattr(row, name) for name in key): unversioned(row) for row in rows}


KEY_COLUMNS = {
    "study": ("tenant", "study_uid"),
    "series": ("tenant", "study_uid", "series_uid"),
    "instance": ("tenant", "study_uid", "sop_uid"),
    "conflict": ("tenant", "study_uid", "sop_uid", "data_hash"),
    "transfer": ("tenant", "transfer_id", "study_uid"),
    "quarantine": ("tenant", "data_hash"),
}


def settled(flushed: Flushed) -> list[StudySettled]:
    return [one.event for one in flushed.outputs if isinstance(one.event, StudySettled)]


def cataloged(flushed: Flushed) -> list[StudyCataloged]:
    return [one.event for one in flushed.outputs if isinstance(one.event, StudyCataloged)]


def refused(flushed: Flushed) -> list[RecordRejected]:
    return [one.event for one in flushed.outputs if isinstance(one.event, RecordRejected)]


def test_a_batch_makes_rows_of_every_level(desk: Desk) -> None:
    desk.run([instance(sop="1"), instance(sop="2", series="2"), ended(instances=2)])

    (study,) = desk.rows("study")
    assert (study["series"], study["instances"], study["modalities"]) == (2, 2, ("CT",))
    assert [row["instances"] for row in desk.rows("series")] == [1, 1]
    assert [row["instances"] for row in desk.rows("transfer")] == [2]


def test_a_repeat_keeps_the_version_and_is_still_cataloged(desk: Desk) -> None:
    first = desk.run([instance()])
    again = desk.run([instance()])

    assert [one.version for one in cataloged(again)] == [one.version for one in cataloged(first)]


def test_another_content_is_kept_beside_and_never_shown(desk: Desk) -> None:
    desk.run([instance(content="a", second=1)], [instance(content="b", second=2)])

    (shown,), (lost,) = desk.rows("instance"), desk.rows("conflict")
    assert shown["stored_at"] == NOON + timedelta(seconds=1)
    assert (lost["kind"], lost["data_hash"] != shown["data_hash"]) == ("content", True)


def test_an_earlier_content_takes_the_place_and_its_series(desk: Desk) -> None:
    desk.run([instance(content="a", series="1", second=2)], [instance(content="b", series="2", second=1)])

    (shown,) = desk.rows("instance")
    assert shown["series_uid"] == "1.2.1.2"
    assert [row["instances"] for row in desk.rows("series")] == [0, 1]
    assert [row["kind"] for row in desk.rows("conflict")] == ["content"]
    assert desk.rows("study")[0]["series"] == 1


def test_a_content_that_came_first_after_all_is_no_conflict_any_more(desk: Desk) -> None:
    early, late = instance(content="a", second=1), instance(content="b", second=2)
    desk.run([early], [late], [replace(late, stored_at=NOON)])

    (shown,), (lost,) = desk.rows("instance"), desk.rows("conflict")
    assert (shown["data_hash"], lost["data_hash"]) == (late.data_hash, early.data_hash)


def test_only_the_record_that_is_refused_is_rejected(desk: Desk) -> None:
    good, bad = [instance(sop=str(number)) for number in range(7)], instance(sop="9", transfer="t\0")
    flushed = desk.run([*good[:4], bad, *good[4:]])

    assert [(one.origin_offset, one.reason) for one in refused(flushed)] == [(4, "refused-by-the-database")]
    assert desk.rows("study")[0]["instances"] == 7


def test_a_savepoint_undoes_what_was_written_in_it(desk: Desk) -> None:
    desk.run([instance()])
    before = desk.tables
    study, key = StudyKey(desk.tenant, "1.2.1"), InstanceKey(desk.tenant, "1.2.1", "1.2.1.9.1")
    with desk.catalog.transaction(desk.shard) as tables:
        known = tables.known([key])
        with pytest.raises(Rejected):
            write_and_fail(tables, replace(known.studies[study], instances=99, version=known.version))

    assert desk.tables == before


def write_and_fail(tables: CatalogTables, row: StudyRow) -> None:
    with tables.savepoint():
        tables.put_studies([row], [])
        raise Rejected("undo")


def test_a_due_makes_a_revision_and_a_late_instance_the_next(desk: Desk) -> None:
    first = desk.run([instance(sop="1"), due(number=1)])
    nothing_new = desk.run([due(number=2)], head=first.head)
    second = desk.run([instance(sop="2"), due(number=3)], head=nothing_new.head)

    assert [one.revision for one in settled(first)] == [1]
    assert settled(nothing_new) == settled(first)
    assert [(one.revision, one.instances) for one in settled(second)] == [(2, 2)]


def test_revisions_that_a_crash_kept_back_go_out_in_order(desk: Desk) -> None:
    desk.run([instance(study="1.2.1"), due("1.2.1")])
    desk.run([instance(study="1.2.2"), due("1.2.2")])
    flushed = desk.run([instance(study="1.2.3")])

    assert [one.study_uid for one in settled(flushed)] == ["1.2.1", "1.2.2"]
    assert [one.version for one in settled(flushed)] == sorted(one.version for one in settled(flushed))


def test_an_announcement_is_the_same_whenever_it_is_made(desk: Desk) -> None:
    facts = Facts(patient_name="Ångström^Åsa", modality="CT", body_part_examined="HEAD")
    first = desk.run([instance(facts=facts), instance(sop="2", series="2"), due()])
    later = desk.run([due(number=2)])

    assert settled(first) == settled(later)
    assert [(one.modality, one.body_part, one.instances) for one in settled(first)[0].series] == [
        ("CT", "HEAD", 1),
        ("CT", None, 1),
    ]


def test_the_latest_word_on_what_was_kept_aside_stays(desk: Desk) -> None:
    held_again, released = quarantined(second=120), quarantined(state="released")
    desk.run([quarantined(), released], [held_again], [released])

    (row,) = desk.rows("quarantine")
    assert (row["state"], str(row["event_id"])) == ("held", held_again.event_id)


def test_what_is_kept_once_more_is_held_whatever_the_clock_of_who_let_it_go_said(desk: Desk) -> None:
    held_again, released = quarantined(second=30), quarantined(state="released")
    assert released.occurred_at > held_again.occurred_at
    desk.run([quarantined()], [held_again], [released])

    (row,) = desk.rows("quarantine")
    assert (row["state"], str(row["event_id"])) == ("held", held_again.event_id)


def aside_of(desk: Desk, request: pytest.FixtureRequest) -> HiddenRows:
    if isinstance(desk.catalog, MemoryCatalog):
        return MemoryHiddenRows(tables=desk.catalog.tables)
    return PostgresHiddenRows(request.getfixturevalue("writer"))


def test_operators_find_what_is_kept_aside(desk: Desk, request: pytest.FixtureRequest) -> None:
    first, second, gone = (quarantined(name, second=at) for at, name in enumerate("pqr"))
    desk.run([first, second, gone, quarantined("r", second=2, state="discarded")])
    aside = aside_of(desk, request)
    months_later = NOON + timedelta(days=30)

    def hashes(**asked: Any) -> list[str]:
        return [row.data_hash for row in aside.quarantined(desk.tenant, 9, **asked)]

    assert hashes() == [gone.data_hash, second.data_hash, first.data_hash]
    assert hashes(held_at=NOON) == [second.data_hash, first.data_hash]
    assert hashes(held_at=months_later) == [second.data_hash]
    assert hashes(beginning=first.data_hash[:9]) == [first.data_hash]
    assert [row.data_hash for row in aside.quarantined(desk.tenant, 1)] == [gone.data_hash]
    assert aside.quarantined("nobody", 9) == ()
    assert {row.data_hash for row in aside.quarantined(None, 1000)} >= set(hashes())


def test_operators_find_both_contents_of_a_conflict(desk: Desk, request: pytest.FixtureRequest) -> None:
    shown, lost = instance(content="a"), instance(content="b", second=1)
    other = [instance(sop="2", content=name, second=5 + at) for at, name in enumerate("cd")]
    desk.run([shown, lost, *other])
    aside = aside_of(desk, request)

    assert len(aside.conflicts(desk.tenant, 9)) == 2
    (found,) = aside.conflicts(desk.tenant, 9, sop_uid=shown.sop_uid)
    assert (found.shown.data_hash, found.lost.data_hash, found.lost.kind) == (
        shown.data_hash,
        lost.data_hash,
        "content",
    )
    assert [one.lost.data_hash for one in aside.conflicts(desk.tenant, 1)] == [other[1].data_hash]
    assert aside.conflicts("nobody", 9) == ()


def test_a_catalog_that_does_not_answer_operators_is_unavailable() -> None:
    for aside in (PostgresHiddenRows(CatalogSettings(port=1)), MemoryHiddenRows(outage=Outage.REFUSES)):
        with pytest.raises(Unavailable):
            aside.conflicts(None, 1)
        with pytest.raises(Unavailable):
            aside.quarantined(None, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=HISTORIES, data=st.data())
def test_postgres_holds_what_its_twin_holds(
    postgres: PostgresCatalog, writer: CatalogSettings, events: list[Event], data: st.DataObject
) -> None:
    twin = MemoryCatalog()
    real = desk_at(postgres, lambda tenant: read_tables(writer, tenant))
    parts: list[Any] = data.draw(batches(numbered(events, real.tenant)))
    expected = run(twin, parts, shard=real.shard)
    flushed = run(postgres, parts, shard=real.shard)

    assert real.tables == held(twin.tables)
    assert [(one.study_uid, one.revision, one.digest, one.series) for one in settled(flushed)] == [
        (one.study_uid, one.revision, one.digest, one.series) for one in settled(expected)
    ]


def test_a_shard_that_is_held_is_not_written(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    impatient = PostgresCatalog(replace(writer, statement_s=0.2))
    shard = next(SHARDS)
    with postgres.transaction(shard), pytest.raises(Unavailable), impatient.transaction(shard):
        pytest.fail("two attempts hold one shard")
    impatient.close()


def test_a_lost_connection_costs_one_attempt(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    desk = desk_at(postgres, lambda tenant: read_tables(writer, tenant))
    desk.run([instance()])
    with postgres.transaction(next(SHARDS)):
        pid = postgres._connected().info.backend_pid
    with connect(writer) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    flushed = desk.run([instance(sop="2")])

    assert refused(flushed) == []
    assert desk.rows("study")[0]["instances"] == 2


@pytest.mark.parametrize(
    ("state", "raised"),
    [
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("57P01", Unavailable),
        ("53100", Unavailable),
        ("55P03", Unavailable),
        ("25006", Unavailable),
        ("22003", Rejected),
        ("23514", Rejected),
        ("54000", Rejected),
        ("42P01", psycopg.errors.UndefinedTable),
    ],
)
def test_what_is_to_blame_is_told_by_the_state(postgres: PostgresCatalog, state: str, raised: type[Exception]) -> None:
    with pytest.raises(raised), postgres.transaction(next(SHARDS)):
        raise psycopg.errors.lookup(state)


def test_an_overtaken_attempt_undoes_nothing(postgres: PostgresCatalog, writer: CatalogSettings) -> None:
    desk = desk_at(postgres, lambda tenant: read_tables(writer, tenant))
    late = [instance(content="b", second=9, facts=Facts(patient_id="P9")), ended(second=1), quarantined()]
    stale = MemoryCatalog()
    run(stale, [numbered(late, desk.tenant)])
    desk.run([instance(content="a", second=1), ended(second=5), quarantined(state="released")])
    before = desk.tables
    with postgres.transaction(next(SHARDS)) as tables:
        tables.put_instances(list(stale.tables.instances.values()), [], [])
        tables.put_studies(list(stale.tables.studies.values()), list(stale.tables.series.values()))
        tables.put_transfers(list(stale.tables.transfers.values()))
        tables.put_quarantine(list(stale.tables.quarantine.values()))

    assert desk.tables == before


def test_versions_outrank_those_of_an_earlier_life(postgres: PostgresCatalog) -> None:
    with postgres.transaction(next(SHARDS)) as tables:
        version = tables.known([]).version

    assert version > NOON.timestamp() * 1_000_000


def test_a_reader_without_a_tenant_sees_nothing(
    postgres: PostgresCatalog, writer: CatalogSettings, request: pytest.FixtureRequest
) -> None:
    desk = desk_at(postgres, lambda tenant: read_tables(writer, tenant))
    desk.run([instance(), quarantined()])
    with connect(request.getfixturevalue("stack").catalog("reader")) as reader:
        counts = []
        for tenant in ("", "other", desk.tenant):
            reader.execute("SELECT set_config('fluoro.tenant', %s, false)", (tenant,))
            for table in ("study", "quarantine"):
                counts += reader.execute(f"SELECT count(*) FROM {table} WHERE tenant = %s", (desk.tenant,)).fetchall()  # noqa: S608

    assert counts == [(0,), (0,), (0,), (0,), (1,), (1,)]


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> CatalogSettings:
    settings: CatalogSettings = request.getfixturevalue("stack").catalog("owner")
    return settings


async def twice_at_once(settings: CatalogSettings) -> None:
    await asyncio.gather(migrations.apply(settings), migrations.apply(settings))


def test_ddl_may_be_applied_again_by_any_number_at_once(owner: CatalogSettings) -> None:
    asyncio.run(twice_at_once(owner))


def test_ddl_that_was_changed_after_it_was_applied_is_refused(owner: CatalogSettings, tmp_path: Path) -> None:
    shutil.copytree(migrations.FOLDER, tmp_path / "ddl")
    (tmp_path / "ddl" / "0001_catalog.sql").write_text("SELECT 1;")

    with pytest.raises(migrations.SchemaMismatch, match="DDL 1 was changed"):
        asyncio.run(migrations.apply(owner, tmp_path / "ddl"))


def test_a_database_newer_than_the_program_is_refused(owner: CatalogSettings, tmp_path: Path) -> None:
    with pytest.raises(migrations.SchemaMismatch, match="newer"):
        asyncio.run(migrations.apply(owner, tmp_path))


def test_a_database_that_does_not_answer_is_unavailable(owner: CatalogSettings) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(migrations.apply(replace(owner, database="nothing-of-this-name")))
