"""A PostgreSQL server that takes encrypted sessions alone, and knows roles by SCRAM-SHA-256; it has no archive yet."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.running import wait_until
from deploy.local.servers import postgres_account
from deploy.local.servers.create_database import SETTINGS, run
from deploy.local.servers.postgres import STOP_SIGNAL
from deploy.local.supervision.programs import tied_to_this_process
from operators.connectors.postgres.connecting import connect
from schemas.settings.servers import CatalogSettings
from tests.support.servers.secured.authority import Authority

# The role that may make databases and roles, though it is no superuser, and a role that may only log in.
ADMIN, GUEST = "admin", "guest"
RIGHTS = {ADMIN: "CREATEDB CREATEROLE", GUEST: ""}
ENCRYPTED = {"ssl": "on", "ssl_cert_file": "'server.pem'", "ssl_key_file": "'server.key'"}
ACCESS = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
READY_S, STOP_S = 30.0, 20.0


def catalog_password(folder: DataFolder, role: str) -> str:
    """Return the password of a role."""
    return folder.secret(f"catalog-{role}")


@contextmanager
def secured_postgres(folder: DataFolder, signed: Authority) -> Iterator[CatalogSettings]:
    """Run a server for the block; yield the settings of its admin, whose database is not made yet."""
    account, data = postgres_account.ensure(), folder.root / "postgres"
    _make(folder, data, account, signed)
    port = choose_ports(folder, {"postgres": 0}, {})["postgres"]
    settings = CatalogSettings(port=port, user=ADMIN, password=catalog_password(folder, ADMIN), tls_ca=str(signed.ours))
    command = (layout.here().postgres_bin / "postgres", "-D", data, "-p", str(port))
    with folder.log("postgres").open("wb") as log:
        env = {"LC_ALL": "C", "TZ": "UTC"}
        process = subprocess.Popen(tied_to_this_process(command, account), env=env, cwd="/", stdout=log, stderr=log)
        try:
            wait_until(lambda: _takes_sessions(settings), READY_S, f"no database: see {folder.log('postgres')}")
            yield settings
        finally:
            process.send_signal(STOP_SIGNAL)
            process.wait(STOP_S)


def _make(folder: DataFolder, data: Path, account: str | None, signed: Authority) -> None:
    """Make the server's data: its certificate, its rule of access, and its roles."""
    programs = layout.here().postgres_bin
    data.mkdir(mode=0o700)
    if account:
        shutil.chown(data, account)
    run((programs / "initdb", "-D", data, "--username=postgres", "--auth=reject", "--encoding=UTF8"), account, "")
    for source, name in ((signed.certificate, "server.pem"), (signed.key, "server.key")):
        copy = Path(shutil.copyfile(source, data / name))
        copy.chmod(0o600)
        if account:
            shutil.chown(copy, account)
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in (SETTINGS | ENCRYPTED).items())
    (data / "pg_hba.conf").write_text(ACCESS)
    roles = [
        f"CREATE ROLE {role} LOGIN {rights} PASSWORD '{catalog_password(folder, role)}'"
        for role, rights in RIGHTS.items()
    ]
    single_user = (programs / "postgres", "--single", "-j", "-D", data, "-c", "exit_on_error=on", "postgres")
    run(single_user, account, ";\n\n".join(roles) + ";\n\n")


def _takes_sessions(settings: CatalogSettings) -> bool:
    try:
        connect(replace(settings, database="postgres"), "test", "").close()
    except psycopg.OperationalError:
        return False
    return True
