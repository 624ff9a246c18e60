"""The catalog's writer meets a standby that is promoted while it is connected."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors

from operators.connectors.postgres.catalog import PostgresCatalog
from operators.errors import Unavailable
from schemas.settings.servers import CatalogSettings


class Server:
    """A server of PostgreSQL: a standby, until it is promoted, which breaks no connection; `raised` counts setval()."""

    is_standby = True
    raised = 0


class Session:
    """A connection to a server; every table is empty."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.closed = False

    def execute(self, query: object, _values: object = ()) -> list[tuple[Any, ...]]:
        if "setval" in str(query):
            if self._server.is_standby:
                raise errors.ReadOnlySqlTransaction
            self._server.raised += 1
        return []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    pipeline = transaction

    def close(self) -> None:
        self.closed = True


def test_versions_are_raised_at_a_standby_that_was_promoted_after_the_writer_had_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    monkeypatch.setattr(psycopg, "connect", lambda **_: Session(server))
    catalog = PostgresCatalog(CatalogSettings())
    with pytest.raises(Unavailable), catalog.transaction(0):
        pass
    server.is_standby = False
    with catalog.transaction(0):
        assert server.raised == 1
