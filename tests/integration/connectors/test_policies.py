"""Reading the policies in force, and a study's last revision: tests of both PostgreSQL and its memory twin."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import pytest

from operators.catalog.ports import CatalogQueries
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.queries import PostgresQueries
from schemas.events import Event
from tests.support.worlds.catalog_histories import STUDY, command, due, instance, numbered, run
from tests.support.worlds.policies import number, policy, rule, texts

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

T = TypeVar("T")
SHARDS = itertools.count(uuid4().int % 2**30)


@dataclass
class Asked:
    """A catalog with a tenant that no other test uses, and a reader of it."""

    write: Callable[[list[Event]], None]
    reader: Callable[[], AbstractAsyncContextManager[CatalogQueries]]
    tenant: str

    def ask(self, question: Callable[[CatalogQueries], Awaitable[T]]) -> T:
        """Return what a reader answers, which is opened for it and closed again."""

        async def opened() -> T:
            async with self.reader() as queries:
                return await question(queries)

        return asyncio.run(opened())


@pytest.fixture(params=["memory", "postgres"])
def archive(request: pytest.FixtureRequest) -> Asked:
    tenant = f"test-{uuid4().hex[:20]}"
    if request.param == "memory":
        memory = MemoryCatalog()
        return Asked(
            lambda events: _written(memory, events, tenant),
            lambda: nullcontext(MemoryQueries(rows=memory.tables)),
            tenant,
        )
    stack: RunningStack = request.getfixturevalue("stack")

    def write(events: list[Event]) -> None:
        with closing(PostgresCatalog(stack.catalog("writer"))) as catalog:
            _written(catalog, events, tenant)

    return Asked(write, lambda: PostgresQueries(stack.catalog("reader")), tenant)


def _written(catalog: MemoryCatalog | PostgresCatalog, events: list[Event], tenant: str) -> None:
    run(catalog, [numbered([event], tenant) for event in events], shard=next(SHARDS))


def test_the_policies_in_force_are_read_as_they_were_put_in_the_order_in_which_they_are_asked(archive: Asked) -> None:
    age = policy(rule("ct", texts("modality", "CT", "MR"), number("settled_s", at_least=60), tier="cold"), version=2)
    archive.write([age, policy(name="b-2", kind="inference"), policy(), policy(rule("all"), name="b")])
    found = archive.ask(lambda queries: queries.policies(archive.tenant))

    assert [(row.kind, row.name, row.version) for row in found] == [
        ("inference", "b-2", 1),
        ("tiering", "age", 2),
        ("tiering", "b", 1),
    ]
    assert found[1].rules == age.rules
    assert archive.ask(lambda queries: queries.policies(f"{archive.tenant}-x")) == ()


def test_the_last_revision_of_a_deleted_study_is_read(archive: Asked) -> None:
    archive.write([instance(), due(), command("delete", second=5), due(number=2)])
    last = archive.ask(lambda queries: queries.last_revision(archive.tenant, STUDY))

    assert last is not None
    assert (last.revision, last.instances) == (2, 0)
    assert archive.ask(lambda queries: queries.last_revision(f"{archive.tenant}-x", STUDY)) is None
    assert archive.ask(lambda queries: queries.last_revision(archive.tenant, "1.9")) is None
