"""The rows of a study's history: tests of both PostgreSQL and its memory twin, then tests of PostgreSQL alone."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from operators.catalog.history.entries import History, history_of
from operators.catalog.ports import QUARANTINED_TOLD, Catalog, CatalogQueries, HistoryRows
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.connecting import connected
from operators.connectors.postgres.history import COUNT, PAGE
from operators.connectors.postgres.queries import OPTIONS, PostgresQueries
from schemas.events import Event
from tests.support.worlds.catalog_histories import HISTORIES, LIFE, MOST, STUDY, command, ended, instance, numbered, run

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

T = TypeVar("T")
SHARDS = itertools.count(uuid4().int % 2**30)


@dataclass
class Told:
    """A catalog with a tenant that no other test uses, and a reader of it."""

    catalog: Catalog
    reader: Callable[[], AbstractAsyncContextManager[CatalogQueries]]
    tenant: str

    def run(self, events: Sequence[Event]) -> None:
        """Flush events one by one."""
        run(self.catalog, [numbered([event], self.tenant) for event in events], shard=next(SHARDS))

    def rows(self, study_uid: str = STUDY, limit: int = MOST, offset: int = 0, tenant: str = "") -> HistoryRows:
        return self.asked(lambda queries: queries.history(tenant or self.tenant, study_uid, limit, offset))

    def asked(self, ask: Callable[[CatalogQueries], Awaitable[T]]) -> T:
        """Return what a reader answers, which is opened for it and closed again."""

        async def opened() -> T:
            async with self.reader() as queries:
                return await ask(queries)

        return asyncio.run(opened())


def in_memory() -> Told:
    catalog = MemoryCatalog()
    return Told(catalog, lambda: nullcontext(MemoryQueries(rows=catalog.tables)), new_tenant())


def in_postgres(catalog: PostgresCatalog, stack: "RunningStack") -> Told:
    return Told(catalog, lambda: PostgresQueries(stack.catalog("reader")), new_tenant())


def new_tenant() -> str:
    return f"test-{uuid4().hex[:20]}"


@pytest.fixture(scope="module")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresCatalog]:
    with PostgresCatalog(request.getfixturevalue("stack").catalog("writer")) as catalog:
        yield catalog


@pytest.fixture(params=["memory", "postgres"])
def archive(request: pytest.FixtureRequest) -> Told:
    if request.param == "memory":
        return in_memory()
    return in_postgres(request.getfixturevalue("postgres"), request.getfixturevalue("stack"))


def comparable(rows: HistoryRows) -> History:
    """Return the history of rows, without the versions of revisions, which each database gives by itself."""
    revisions = (replace(row, version=0) for row in rows.revisions)
    return history_of(replace(rows, revisions=tuple(revisions)))


def test_pages_of_any_length_are_the_whole_history(archive: Told) -> None:
    archive.run(LIFE)
    whole = archive.rows()

    for limit in (1, 3, 5):
        pages = [archive.rows(limit=limit, offset=offset) for offset in range(0, whole.total, limit)]
        assert [entry for page in pages for entry in history_of(page).entries] == list(history_of(whole).entries)
        assert {page.total for page in pages} == {whole.total} == {12}
    assert archive.rows(limit=0) == replace(archive.rows(offset=99), total=12)


def test_at_most_ten_contents_in_quarantine_are_told_of_a_transfer(archive: Told) -> None:
    archive.run(LIFE)
    found = archive.rows().quarantined

    assert [row.transfer_id for row in found] == ["t1"] * QUARANTINED_TOLD
    assert [row.data_hash for row in found] == sorted(row.data_hash for row in found)


def test_nothing_is_read_of_a_revisions_series_or_a_choices_instance(archive: Told) -> None:
    archive.run(LIFE)
    found = archive.rows()

    assert [row.series for row in found.revisions] == [()]
    assert {row.subject: row.instance for row in found.decisions} == {"deletion": None, "hold": None, "choice": None}


def test_a_deleted_study_has_its_history(archive: Told) -> None:
    archive.run([instance(), ended(), command("delete", second=5)])
    found = history_of(archive.rows())

    assert [entry.kind for entry in found.entries] == ["transfer", "command"]
    assert found.is_deleted


@pytest.mark.parametrize(
    ("events", "is_known", "total"),
    [
        ([], False, 0),
        ([instance(study="1.2.9"), ended("1.2.9"), command("hold", "1.2.9")], False, 0),
        ([ended(None)], False, 0),
        ([command("expect", expected_instances=2)], True, 1),
        ([ended(instances=0)], True, 1),
        ([instance()], True, 0),
    ],
    ids=["nothing", "of another study", "a transfer without a study", "expected", "nothing stored", "not ended"],
)
def test_a_study_is_known_by_an_instance_or_by_anything_that_is_told_of_it(
    archive: Told,
    events: list[Event],
    is_known: bool,  # noqa: FBT001
    total: int,
) -> None:
    archive.run(events)

    assert (archive.rows().is_known, archive.rows().total) == (is_known, total)


def test_another_tenants_history_is_not_told(archive: Told) -> None:
    archive.run(LIFE)

    assert archive.rows(tenant=new_tenant()) == HistoryRows(is_known=False, total=0)


@given(events=HISTORIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_twin_in_memory_tells_what_postgresql_does(
    postgres: PostgresCatalog, request: pytest.FixtureRequest, events: list[Event]
) -> None:
    one, other = in_memory(), in_postgres(postgres, request.getfixturevalue("stack"))
    for archive in (one, other):
        archive.run(events)

    for study in ("1.2.1", "1.2.2"):
        for limit, offset in ((MOST, 0), (2, 1)):
            first, second = (archive.rows(study, limit, offset) for archive in (one, other))
            assert comparable(first) == comparable(second)


def test_row_level_security_hides_the_history_of_other_tenants(
    postgres: PostgresCatalog, request: pytest.FixtureRequest
) -> None:
    stack: RunningStack = request.getfixturevalue("stack")
    archive = in_postgres(postgres, stack)
    archive.run(LIFE)
    asked = {"tenant": archive.tenant, "study_uid": STUDY, "limit": MOST, "offset": 0}

    def found(tenant: str) -> tuple[Any, int]:
        """Return what both statements find that name the tenant, in a transaction of this one."""
        with connected(stack.catalog("reader"), "test", OPTIONS) as reader:
            reader.execute("SELECT set_config('fluoro.tenant', %s, true)", (tenant,))
            return reader.execute(COUNT, asked).fetchone(), len(reader.execute(PAGE, asked).fetchall())

    assert found(archive.tenant) == ((12, True), 12)
    assert found(new_tenant()) == found("") == ((0, False), 0)
