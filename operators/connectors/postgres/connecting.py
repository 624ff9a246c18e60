"""Connections to the catalog's PostgreSQL: their parameters, and single ones for whoever asks it rarely or writes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, errors
from psycopg_pool import PoolTimeout

from operators.errors import Unavailable
from schemas.settings.servers import CatalogSettings

CONNECT_S = 2
# The tenant of a transaction, whose rows the role reader sees.
SET_TENANT = "SELECT set_config('fluoro.tenant', %s, true)"

# Errors that another try may not meet: connection, locks, resources, shutdown, or a standby that is not promoted.
BLAMES_MOMENT = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
# Errors that end when somebody gives the role its rights, or prepares the tables.
BLAMES_PREPARATION = (errors.InsufficientPrivilege, errors.UndefinedTable)


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
    except (*BLAMES_MOMENT, *BLAMES_PREPARATION) as error:
        raise unavailable(settings, error) from error


def unavailable(settings: CatalogSettings, error: Exception) -> Unavailable:
    """Return the error to raise for an error of psycopg or of its pool."""
    cause = POOL_LOG.last_of(settings) or error if isinstance(error, PoolTimeout) else error
    return Unavailable("catalog", f"{settings.host}:{settings.port}, role {settings.user}: {_line(cause)}")


def _line(error: Exception) -> str:
    """Return the cause in a line; not the details that PostgreSQL adds, because they may quote a row.

    The text of a failed connection repeats addresses, and goes on with advice in further lines.
    """
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    lines = str(error).splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("connection to server")), lines[0])


def pool_name(settings: CatalogSettings) -> str:
    """Return the name of a pool with these settings, by which its failures are found."""
    return f"{settings.user}@{settings.host}:{settings.port}/{settings.database}"


class PoolLog(logging.Handler):
    """Where psycopg's pools write: the last failure of each pool is kept, for whoever waits in vain for a connection."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last: dict[str, Exception] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the failure of a line such as "error connecting in NAME: FAILURE"."""
        match record.args:
            case (str(name), Exception() as failure):
                self._last[name] = failure

    def last_of(self, settings: CatalogSettings) -> Exception | None:
        """Return the last failure of the pool with these settings; None when there was none."""
        return self._last.get(pool_name(settings))


POOL_LOG = PoolLog()
logging.getLogger("psycopg.pool").addHandler(POOL_LOG)
logging.getLogger("psycopg.pool").propagate = False
