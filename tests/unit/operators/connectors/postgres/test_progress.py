"""What a launcher hears when the catalog cannot answer now."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psycopg
import pytest
from psycopg import errors

from operators.connectors.postgres.progress import PostgresProgress
from operators.errors import Unavailable
from schemas.settings.servers import CatalogSettings


class Standby:
    """A connection to a standby, which takes no write."""

    def execute(self, *_: object) -> object:
        raise errors.ReadOnlySqlTransaction


def connect(**_: Any) -> AbstractContextManager[Standby]:
    return nullcontext(Standby())


def test_a_standby_that_is_not_promoted_yet_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg, "connect", connect)
    progress = PostgresProgress(CatalogSettings())

    with pytest.raises(Unavailable):
        progress.note_begun(shards=1)
    with pytest.raises(Unavailable):
        progress.forget()
