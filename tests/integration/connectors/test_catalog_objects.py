"""The rows that name objects, and the marks of damaged ones: tests of both PostgreSQL and its memory twin."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import pytest

from operators.catalog.ports import CatalogQueries, Location
from operators.catalog.rows import DamageRow, StudyKey
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.objects import MemoryCatalogObjects
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.objects import PostgresCatalogObjects
from operators.connectors.postgres.queries import PostgresQueries
from operators.integrity.comparison import UNDESCRIBED
from operators.integrity.ports import CatalogObjects
from schemas.events import Event
from schemas.objects import command_key
from tests.support.worlds.catalog_histories import STUDY, command, instance, numbered, run

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

T = TypeVar("T")
SHARDS = itertools.count(uuid4().int % 2**30)
FOUND_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass
class Archive:
    """A tenant that no other test uses: how its rows are written, its objects, and a reader of it."""

    tenant: str
    write: Callable[[list[Event]], None]
    objects: CatalogObjects
    reader: Callable[[], AbstractAsyncContextManager[CatalogQueries]]

    @property
    def study(self) -> StudyKey:
        return StudyKey(self.tenant, STUDY)

    def ask(self, question: Callable[[CatalogQueries], Awaitable[T]]) -> T:
        """Return what a reader answers, which is opened for it and closed again."""

        async def opened() -> T:
            async with self.reader() as queries:
                return await question(queries)

        return asyncio.run(opened())

    def marked(self) -> list[tuple[str, bool]]:
        """Return each located instance, and if it is marked."""
        return [(row.sop_uid.rpartition(".")[2], row.is_marked) for row in self.ask(self._located)]

    async def _located(self, queries: CatalogQueries) -> tuple[Location, ...]:
        """Return the instances of the study, which are located in three ways."""
        rows = await queries.locate(self.tenant, STUDY)
        (series,) = {row.series_uid for row in rows}
        assert await queries.locate(self.tenant, STUDY, series) == rows
        for row in rows:
            assert await queries.locate_one(self.tenant, STUDY, series, row.sop_uid) == row
        return rows


@pytest.fixture(params=["memory", "postgres"])
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    tenant = f"test-{uuid4().hex[:20]}"
    if request.param == "memory":
        memory = MemoryCatalog()
        yield Archive(
            tenant,
            partial(_written, memory, tenant),
            MemoryCatalogObjects(tables=memory.tables),
            lambda: nullcontext(MemoryQueries(rows=memory.tables)),
        )
        return
    stack: RunningStack = request.getfixturevalue("stack")

    def write(events: list[Event]) -> None:
        with closing(PostgresCatalog(stack.catalog("writer"))) as catalog:
            _written(catalog, tenant, events)

    with PostgresCatalogObjects(stack.catalog("writer")) as objects:
        yield Archive(tenant, write, objects, lambda: PostgresQueries(stack.catalog("reader")))


def _written(catalog: MemoryCatalog | PostgresCatalog, tenant: str, events: list[Event]) -> None:
    run(catalog, [numbered([event], tenant) for event in events], shard=next(SHARDS))


def mark_of(archive: Archive, sop_uid: str, **changes: object) -> DamageRow:
    (key,) = [one.key for one in archive.objects.objects(archive.study) if f".9.{sop_uid}_" in one.key]
    row = DamageRow(
        tenant=archive.tenant,
        study_uid=STUDY,
        object_key=key,
        tier="hot",
        reason="hash",
        modified_at=FOUND_AT - timedelta(days=3),
        found_at=FOUND_AT,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_every_object_that_a_row_names_is_returned_of_contents_that_lost_and_of_commands_too(archive: Archive) -> None:
    archive.write([instance(content="a"), instance(content="b", second=20), instance(sop="2"), command("hold")])
    found = archive.objects.objects(archive.study)

    contents = [one for one in found if one.described != UNDESCRIBED]
    assert sorted((one.tier or "", one.described.size_bytes) for one in contents) == [
        ("", 1001),
        ("hot", 1001),
        ("hot", 1001),
    ]
    assert len({one.key for one in contents}) == 3
    (other,) = set(found) - set(contents)
    assert (other.key, other.tier) == (command_key(archive.tenant, STUDY, command("hold").event_id), "hot")


def test_studies_come_in_pages_in_the_order_of_their_keys_those_with_commands_alone_too(archive: Archive) -> None:
    archive.write([instance(study="1.2.10"), instance(study="1.2.9"), instance(), command("hold", study="1.2.3")])

    pages = list(iter_pages(archive, most=3))
    assert [[study.study_uid for study in page] for page in pages] == [["1.2.1", "1.2.10", "1.2.3"], ["1.2.9"]]
    assert (archive.tenant, "1.2.10") in archive.objects.studies(None, StudyKey(archive.tenant, "1.2.1"), 1)


def iter_pages(archive: Archive, most: int) -> Iterator[tuple[StudyKey, ...]]:
    after = None
    while page := archive.objects.studies(archive.tenant, after, most):
        yield page
        after = page[-1]


def test_a_marked_instance_is_located_as_marked_and_its_mark_is_read(archive: Archive) -> None:
    archive.write([instance(sop="1"), instance(sop="2")])
    mark = mark_of(archive, "1")
    archive.objects.mark([mark])

    assert archive.marked() == [("1", True), ("2", False)]
    assert archive.objects.marks(archive.study) == (mark,)
    assert archive.ask(lambda queries: queries.marks(archive.tenant, STUDY, mark.object_key)) == (mark,)
    assert archive.ask(lambda queries: queries.marks("other", STUDY, mark.object_key)) == ()


@pytest.mark.parametrize(
    ("first_s", "second_s", "kept"), [(0, 1, "size"), (1, 0, "hash"), (0, 0, "hash")], ids=["later", "earlier", "same"]
)
def test_the_mark_that_was_found_last_stays(archive: Archive, first_s: int, second_s: int, kept: str) -> None:
    archive.write([instance(sop="1")])
    first = mark_of(archive, "1", found_at=FOUND_AT + timedelta(seconds=first_s))
    second = replace(first, reason="size", modified_at=None, found_at=FOUND_AT + timedelta(seconds=second_s))
    archive.objects.mark([first])
    archive.objects.mark([second])

    assert [row.reason for row in archive.objects.marks(archive.study)] == [kept]


@pytest.mark.parametrize("later_s", [0, 1])
def test_a_mark_is_removed_unless_it_was_written_again_later(archive: Archive, later_s: int) -> None:
    archive.write([instance(sop="1")])
    mark = mark_of(archive, "1")
    archive.objects.mark([replace(mark, found_at=FOUND_AT + timedelta(seconds=later_s))])
    archive.objects.unmark([mark, replace(mark, object_key="local/none")])

    assert archive.marked() == [("1", later_s > 0)]
