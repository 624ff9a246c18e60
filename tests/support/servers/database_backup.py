"""A backup of a running stack's database, as pg_basebackup makes it, and the database replaced by it."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psycopg

from deploy.local.running import RunningStack, wait_until

RESTORED_S = 60.0
# The superuser has no password, and may connect from nowhere unless this line is in pg_hba.conf.
ACCESS = "host postgres postgres 127.0.0.1/32 trust\n"
# What belongs to the running server alone.
LEFT_OUT = ("postmaster.pid", "postmaster.opts", "pg_wal")


def back_up(stack: RunningStack, copy: Path) -> None:
    """Copy the data folder of the running database between pg_backup_start and pg_backup_stop, then its WAL."""
    data = data_folder(stack)
    with superuser(stack) as connection:
        connection.execute("SELECT pg_backup_start('test', fast => true)")
        shutil.copytree(data, copy, ignore=lambda _, names: set(names) & set(LEFT_OUT), copy_function=copied)
        stopped = connection.execute("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)").fetchone()
    assert stopped is not None
    (copy / "backup_label").write_text(stopped[0])
    shutil.copytree(data / "pg_wal", copy / "pg_wal", copy_function=copied)
    copy.chmod(0o700)


def replace_database(stack: RunningStack, copy: Path, aside: Path) -> None:
    """Put a copy of the backup in place of the running database, and kill the server; its successor runs on the copy."""
    before = stack.state().servers["postgres"]
    put_back(data_folder(stack), copy, aside)
    os.kill(before.process.pid, signal.SIGKILL)
    wait_until(lambda: stack.has_changed("postgres", before), RESTORED_S, "the database's end is not noticed")
    stack.wait_healthy("postgres", RESTORED_S)


def put_back(data: Path, copy: Path, aside: Path) -> None:
    """Put a copy of the backup in place of a database's data folder, which goes aside."""
    made = copy.with_name(f"{copy.name}.{aside.name}")
    shutil.copytree(copy, made)
    owner = data.stat()
    for path in (made, *made.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    data.rename(aside)
    made.rename(data)


def superuser(stack: RunningStack) -> psycopg.Connection[tuple[Any, ...]]:
    """Let the superuser in, and return a connection as superuser."""
    access = data_folder(stack) / "pg_hba.conf"
    if ACCESS not in access.read_text():
        with access.open("a") as file:
            file.write(ACCESS)
        os.kill(stack.state().servers["postgres"].process.pid, signal.SIGHUP)
    wait_until(lambda: lets_superuser_in(stack), RESTORED_S, "the superuser is not let in")
    return connected(stack)


def lets_superuser_in(stack: RunningStack) -> bool:
    """True if the server has read its access rules."""
    try:
        connected(stack).close()
    except psycopg.OperationalError:
        return False
    return True


def connected(stack: RunningStack) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection as superuser."""
    port = stack.catalog("owner").port
    return psycopg.connect(host="127.0.0.1", port=port, dbname="postgres", user="postgres", autocommit=True)


def data_folder(stack: RunningStack) -> Path:
    """Return the data folder of the stack's database."""
    return stack.folder.root / "postgres"


def copied(source: str, target: str) -> str:
    """Copy a file; a file that the server removes meanwhile is left out."""
    try:
        return shutil.copy2(source, target)
    except FileNotFoundError:
        return target
