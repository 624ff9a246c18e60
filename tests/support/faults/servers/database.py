"""Faults of the catalog's database: each function returns when its fault is over."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg

from deploy.local.running import RunningStack, wait_until
from tests.support.faults.matrix import IS_FULL

Session = psycopg.Connection[tuple[Any, ...]]

SOON_S = 60.0
PAUSE_S = 0.02
STORM_S = 30.0 if IS_FULL else 5.0
# Longer than a statement may take, 10 s.
LOCKED_S = 60.0 if IS_FULL else 12.0
SERIALIZATION_FAILURE = "40001"
FAILURES = 3

FAIL_AT_FIRST = f"""
CREATE SEQUENCE fault_tries;
GRANT USAGE ON SEQUENCE fault_tries TO writer;
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('fault_tries') <= {FAILURES} THEN RAISE EXCEPTION 'a fault' USING ERRCODE = '{SERIALIZATION_FAILURE}'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON study FOR EACH STATEMENT EXECUTE FUNCTION fault()
"""
# The shard lock of the transaction that waits for a table.
WAITING = """
SELECT held.classid::int, held.objid::int FROM pg_locks AS wanted JOIN pg_locks AS held USING (pid)
WHERE wanted.locktype = 'relation' AND NOT wanted.granted AND held.locktype = 'advisory' AND held.granted
"""
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid() AND application_name <> 'storm'
"""


@contextmanager
def session(stack: RunningStack, role: str = "owner", name: str = "faults") -> Iterator[Session]:
    """Open a session for the block."""
    where = stack.catalog(role)
    with psycopg.connect(
        host=where.host,
        port=where.port,
        dbname=where.database,
        user=role,
        password=where.password,
        application_name=name,
        connect_timeout=5,
        autocommit=True,
    ) as connection:
        yield connection


def killed(stack: RunningStack) -> None:
    """Kill the server, as a failure of its machine does; the supervisor starts it again."""
    stack.kill("postgres")


def restarted(stack: RunningStack) -> None:
    """End the server in order, and with it all sessions; the supervisor starts it again."""
    before = stack.state().servers["postgres"]
    os.kill(before.process.pid, signal.SIGINT)
    wait_until(lambda: stack.has_changed("postgres", before), SOON_S, "the database does not end")


def stormed(stack: RunningStack) -> None:
    """End all sessions, and take every place before they come back, for STORM_S."""
    with ExitStack() as storm:
        own = [storm.enter_context(session(stack, role, "storm")) for role in ("reader", "writer")]
        fill(stack, storm)
        for one in own:
            one.execute(END_OTHERS)
        until = time.monotonic() + STORM_S
        while time.monotonic() < until:
            fill(stack, storm)
            time.sleep(PAUSE_S)


def fill(stack: RunningStack, storm: ExitStack) -> None:
    """Open sessions until there is no place for another one."""
    with suppress(psycopg.OperationalError):
        while True:
            storm.enter_context(session(stack, "reader", "storm"))


def locked(stack: RunningStack) -> None:
    """Keep everybody from a table for LOCKED_S."""
    with session(stack) as own, own.transaction():
        own.execute("LOCK TABLE study IN ACCESS EXCLUSIVE MODE")
        time.sleep(LOCKED_S)


def deadlocked(stack: RunningStack) -> None:
    """Hold the table that the catalog job's transaction waits for, and wait for the lock that it holds.

    The one who has waited longer finds the deadlock, and gives way: that is the job.
    """
    with session(stack) as own, own.transaction(force_rollback=True):
        own.execute("LOCK TABLE study IN EXCLUSIVE MODE")
        found = list[tuple[Any, ...]]()

        def job_waits() -> bool:
            found[:] = own.execute(WAITING).fetchall()
            return bool(found)

        wait_until(job_waits, SOON_S, "the job does not wait for the table")
        own.execute("SELECT pg_advisory_xact_lock(%s, %s)", found[0])


def unserializable(stack: RunningStack) -> None:
    """Let the first FAILURES changes of a table end with a serialization failure."""
    with session(stack) as own:
        own.execute(FAIL_AT_FIRST)
        try:
            wait_until(lambda: tries(own) > FAILURES, SOON_S, "nobody tries again")
        finally:
            own.execute("DROP TRIGGER fault ON study; DROP FUNCTION fault; DROP SEQUENCE fault_tries")


def tries(own: Session) -> int:
    """Return how often the table was to be changed."""
    (row,) = own.execute("SELECT last_value FROM fault_tries").fetchall()
    return int(row[0])
