"""Changes a running archive behind its back, in store, database, broker and answers, and undoes it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from minio import Minio
from psycopg import Connection

from deploy.local.running import RunningStack
from operators.connectors.postgres.connecting import connect
from tests.audit.collect.api import Api
from tests.audit.collect.object_store import store
from tests.audit.judge import judge
from tests.audit.observer import Observer
from tests.support.machine.running_stack import address_of
from tests.support.sabotage.partition import Partition

BUCKET = "fluoro-hot"
Undo = Iterator[None]


@dataclass(frozen=True)
class Saboteur:
    """One archive, and its observer, which remembers what it has read between audits."""

    stack: RunningStack
    observer: Observer

    def findings(self, *, hashed: int | None = None, fetched: int = 0, api_url: str = "") -> dict[str, list[str]]:
        """Audit at once, perhaps through another address of the read API; return the findings by set."""
        if not api_url:
            return found_by(self.observer, hashed, fetched)
        with Api(replace(self.observer.address, api=api_url)) as api:
            return found_by(replace(self.observer, api=api), hashed, fetched)

    @contextmanager
    def client(self) -> Iterator[Minio]:
        """Connect to the object store for the block."""
        with store(address_of(self.stack)) as client:
            yield client

    @contextmanager
    def with_object(self, key: str, changed: bytes | None, *, bucket: str = BUCKET, **envelope: str) -> Undo:
        """Replace an object's bytes and entries of its envelope for the block, or remove the object."""
        data, before = self.object(key, bucket)
        with self.client() as client:
            client.remove_object(bucket, key)
            if changed is not None:
                after: dict[str, Any] = {**before, **{name.replace("_", "-"): text for name, text in envelope.items()}}
                client.put_object(bucket, key, BytesIO(changed), len(changed), metadata=after)
            try:
                yield
            finally:
                metadata: dict[str, Any] = dict(before)
                client.put_object(bucket, key, BytesIO(data), len(data), metadata=metadata)

    @contextmanager
    def with_new_object(self, key: str, data: bytes = b"x", bucket: str = BUCKET) -> Undo:
        """Put an object for the block."""
        with self.client() as client:
            client.put_object(bucket, key, BytesIO(data), len(data))
            try:
                yield
            finally:
                client.remove_object(bucket, key)

    def object(self, key: str, bucket: str = BUCKET) -> tuple[bytes, Mapping[str, str]]:
        """Return an object's bytes and envelope."""
        with self.client() as client:
            answer = client.get_object(bucket, key)
            data, headers = answer.data, answer.headers
            answer.release_conn()
        return data, {name[11:]: text for name, text in headers.items() if name.lower().startswith("x-amz-meta-")}

    @contextmanager
    def with_statement(self, do: str, undo: str, *values: str, role: str = "writer") -> Undo:
        """Execute an SQL statement before the block, and another one with the same values after it."""
        with self.connection(role) as connection:
            connection.execute(do.encode(), values)
            try:
                yield
            finally:
                connection.execute(undo.encode(), values)

    @contextmanager
    def without_rows(self, table: str, where: str, *values: str) -> Undo:
        """Delete the rows for the block."""
        with self.connection("writer") as connection:
            keep = f"CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {where}"  # noqa: S608  no client's text
            connection.execute(keep.encode(), values)
            connection.execute(f"DELETE FROM {table} WHERE {where}".encode(), values)  # noqa: S608
            try:
                yield
            finally:
                connection.execute(f"INSERT INTO {table} SELECT * FROM kept".encode())  # noqa: S608

    @contextmanager
    def with_copied_row(self, table: str, change: str, where: str, undo: str, *values: str) -> Undo:
        """Insert a copy of a row, changed so, for the block; `undo` says which row is the copy."""
        with self.connection("writer") as connection:
            keep = f"CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {where}"  # noqa: S608
            connection.execute(keep.encode(), values)
            connection.execute(f"UPDATE kept SET {change}".encode())  # noqa: S608
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept".encode())  # noqa: S608
            try:
                yield
            finally:
                connection.execute(f"DELETE FROM {table} WHERE {undo}".encode())  # noqa: S608

    @contextmanager
    def connection(self, role: str) -> Iterator[Connection[Any]]:
        """Connect to the database in a role for the block."""
        with connect(self.stack.catalog(role), "saboteur", "", autocommit=True) as connection:
            yield connection

    @contextmanager
    def with_partition(self, topic: str, number: int) -> Iterator[Partition]:
        """Yield a partition, and put its records back after the block, in a new place, if they were deleted."""
        with Partition.of(address_of(self.stack).setting("FLUORO_BROKER_BOOTSTRAP"), topic, number) as partition:
            yield partition


def found_by(observer: Observer, hashed: int | None, fetched: int) -> dict[str, list[str]]:
    """Return the findings of one audit by set."""
    sets = judge(observer.snapshot(hashed=hashed, fetched=fetched)).sets
    return {name: [f"{one.subject}: {one.why}" for one in found] for name, found in sets.items() if found}
