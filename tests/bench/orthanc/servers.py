"""Orthanc as Debian ships it, on loopback: with its index in SQLite, and with its index in our PostgreSQL.

Both keep instances as files, and acknowledge one when its file is synced and its row is committed: Orthanc's defaults.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import end, wait_until
from deploy.local.servers import postgres_account
from deploy.local.servers.create_database import DATABASE
from deploy.local.servers.postgres import STOP_SIGNAL
from deploy.local.supervision.processes import Process, identify
from deploy.local.supervision.programs import ROOT, tied_to_this_process
from tests.bench.archives import Archive
from tests.support.machine.debian_tools import Programs
from tests.support.machine.processes import free_port
from tests.support.senders.sender import Peer

SQLITE, POSTGRES = "Orthanc, SQLite", "Orthanc, PostgreSQL"
AE_TITLE = "ORTHANC"
# What storescu calls itself.
CALLING_AE_TITLE = "STORESCU"
READY_S = 60.0
STOP_S = 20.0


@contextmanager
def with_sqlite(programs: Programs, folder: Path) -> Iterator[Archive]:
    """Run Orthanc with its index in SQLite for the block, its data in this folder."""
    with orthanc(SQLITE, programs, folder, {}, {}) as archive:
        yield archive


@contextmanager
def with_postgres(programs: Programs, folder: Path) -> Iterator[Archive]:
    """Run Orthanc with its index in a PostgreSQL of its own for the block, its data in this folder."""
    with postgres(folder / "postgres") as (process, where):
        plugin = {"EnableIndex": True, "EnableStorage": False, "EnableSsl": False, **where}
        with orthanc(POSTGRES, programs, folder, {"PostgreSQL": plugin}, {"PostgreSQL": process}) as archive:
            yield archive


@contextmanager
def orthanc(
    name: str, programs: Programs, folder: Path, more: Mapping[str, Any], servers: Mapping[str, Process]
) -> Iterator[Archive]:
    """Run an Orthanc for the block; raises Failed when it does not answer in time."""
    http, dimse = free_port(), free_port()
    folder.mkdir(exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps({**settings(programs, folder, http, dimse), **more}))
    command = tied_to_this_process([programs.folder / "usr" / "sbin" / "Orthanc", configuration], None)
    with (folder / "orthanc.log").open("wb") as log, ExitStack() as running:
        environment = os.environ | programs.environment
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        running.callback(end, process, STOP_S)
        url = f"http://127.0.0.1:{http}"
        wait_until(lambda: answers(f"{url}/system"), READY_S, f"{name} does not answer (see {folder / 'orthanc.log'})")
        heads = {"Orthanc": identify(process.pid), **servers}
        yield Archive(name, Peer(dimse, ae_title=AE_TITLE), f"{url}/dicom-web", lambda: heads)


def settings(programs: Programs, folder: Path, http: int, dimse: int) -> dict[str, Any]:
    """Return Orthanc's settings: its defaults, save addresses, folders and plugins."""
    plugins = programs.folder / "usr" / "share" / "orthanc" / "plugins"
    return {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(plugins / f"libOrthanc{name}.so") for name in ("DicomWeb", "PostgreSQLIndex")],
        "HttpPort": http,
        "HttpBindAddresses": ["127.0.0.1"],
        "DicomPort": dimse,
        "DicomAet": AE_TITLE,
        # It listens for DIMSE on every address, so it takes instances only from this machine's senders.
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {"bench": [CALLING_AE_TITLE, "127.0.0.1", 104]},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
    }


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[Process, dict[str, Any]]]:
    """Run a PostgreSQL of its own for the block, set up as the stack's is; yield its process and how to reach it."""
    programs, account, port = layout.here().postgres_bin, postgres_account.ensure(), free_port()
    data = DataFolder(folder)
    data.make()
    create = (sys.executable, "-S", ROOT / "deploy/local/servers/create_database.py", folder, programs, account or "-")
    command = tied_to_this_process((programs / "postgres", "-D", folder / "postgres", "-p", str(port)), account)
    with (folder / "postgres.log").open("wb") as log:
        subprocess.run(create, stdout=log, stderr=log, check=True)
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd="/", env={"LC_ALL": "C", "TZ": "UTC"}, start_new_session=True
        )
        try:
            where = {"Host": "127.0.0.1", "Port": port, "Database": DATABASE}
            yield identify(process.pid), {**where, "Username": "owner", "Password": data.secret("owner")}
        finally:
            process.send_signal(STOP_SIGNAL)
            process.wait(STOP_S)


def answers(url: str) -> bool:
    """True if a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
