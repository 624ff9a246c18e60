"""What the catalog's tables hold, for benchmarks that look for the work of the jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from deploy.local.running import RunningStack
from operators.connectors.postgres.connecting import connect


@dataclass(frozen=True)
class Rows:
    """The rows of a catalog, seen by the role writer, which sees every tenant's."""

    connection: Connection[tuple[Any, ...]]

    def has_revision(self, study_uid: str) -> bool:
        """True if a study has settled."""
        found = self.connection.execute("SELECT 1 FROM revision WHERE study_uid = %s LIMIT 1", [study_uid])
        return found.fetchone() is not None

    def instances(self, prefix: str) -> int:
        """Return the number of instances in all studies whose UIDs begin with this prefix."""
        counted = "SELECT coalesce(sum(instances), 0) FROM study WHERE study_uid LIKE %s"
        found = self.connection.execute(counted, [f"{prefix}%"]).fetchone()
        return int(found[0]) if found else 0


@contextmanager
def rows_of(stack: RunningStack) -> Iterator[Rows]:
    """Open the catalog of a stack for the block."""
    with connect(stack.catalog("writer"), "fluoro-bench", "", autocommit=True) as connection:
        yield Rows(connection)
