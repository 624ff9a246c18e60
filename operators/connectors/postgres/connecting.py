"""Connections to the catalog's PostgreSQL: their parameters, and single ones for whoever asks it rarely or writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from operators.errors import Unavailable
from schemas.settings.servers import CatalogSettings

CONNECT_S = 2

# Errors that another try may not meet: connection, locks, resources, shutdown, or a standby that is not promoted.
BLAMES_MOMENT = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


def parameters(settings: CatalogSettings, application_name: str, options: str = "") -> dict[str, Any]:
    """Return psycopg's parameters of a connection; `{ms}` in the options is the limit of a statement."""
    return {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.database,
        "user": settings.user,
        "password": settings.password,
        **_encryption(settings),
        "connect_timeout": CONNECT_S,
        "options": options.format(ms=int(settings.statement_s * 1000)),
        "application_name": application_name,
    }


def _encryption(settings: CatalogSettings) -> dict[str, str]:
    """Return libpq's parameters for TLS."""
    if not settings.tls_ca:
        return {"sslmode": settings.sslmode or "prefer"}
    return {"sslmode": settings.sslmode or "verify-full", "sslrootcert": settings.tls_ca}


def connect(settings: CatalogSettings, application_name: str, options: str, **more: Any) -> Connection[tuple[Any, ...]]:
    """Return a new connection with these parameters and more of psycopg's. Raises psycopg's errors."""
    return psycopg.connect(**parameters(settings, application_name, options), **more)


@contextmanager
def connected(settings: CatalogSettings, application_name: str, options: str) -> Iterator[Connection[tuple[Any, ...]]]:
    """Open a connection for the block, whose transaction is committed at its end; raises Unavailable."""
    try:
        with connect(settings, application_name, options) as connection:
            yield connection
    except BLAMES_MOMENT as error:
        raise Unavailable("catalog") from error
