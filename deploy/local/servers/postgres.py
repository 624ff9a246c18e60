"""PostgreSQL, the catalog's database in it, and the catalog's tables."""

import signal
from pathlib import Path

from deploy.local.servers import health
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program, ServerProgram, SetupProgram

# The fast shutdown, which ends sessions instead of waiting for them.
STOP_SIGNAL = signal.SIGINT


def programs(stack: Stack) -> tuple[Program, ...]:
    """Return the programs that create the database, run the server, and bring the tables to the newest DDL."""
    return (create_database(stack), server(stack), create_tables(stack))


def create_database(stack: Stack) -> SetupProgram:
    """Return the program that creates the database; it is skipped when the database exists."""
    script = "deploy/local/servers/create_database.py"
    return SetupProgram(
        name="initdb",
        command=stack.python("-S", script, stack.folder.root, stack.layout.postgres_bin, stack.account or "-"),
        env=stack.env(),
        is_done=cluster(stack).exists(),
    )


def server(stack: Stack) -> ServerProgram:
    """Return the server."""
    return ServerProgram(
        name="postgres",
        command=(stack.layout.postgres_bin / "postgres", "-D", cluster(stack), "-p", str(stack.ports["postgres"])),
        needs=("initdb",),
        env={"LC_ALL": "C", "TZ": "UTC"},
        user=stack.account,
        cwd=Path("/"),
        check_health=health.takes_sessions(stack.catalog("reader")),
        stop_signal=STOP_SIGNAL,
    )


def create_tables(stack: Stack) -> SetupProgram:
    """Return the program that brings the tables to the newest DDL."""
    return SetupProgram(
        name="catalog",
        command=stack.python("-m", "deploy.prepare", "catalog"),
        needs=("postgres",),
        env=stack.env(stack.catalog("owner")),
    )


def cluster(stack: Stack) -> Path:
    """Return the folder of PostgreSQL's data."""
    return stack.folder.root / "postgres"
