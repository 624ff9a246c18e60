"""An archive on servers of its own, each of which asks for encryption, a password and a right, as the document says.

The processes get the settings of the document's example, with the addresses and files of this machine, and each its own
user at each server, who may do what the document's table says and nothing else.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.running import end, wait_until
from deploy.local.supervision.programs import ROOT, tied_to_this_process
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from tests.support.installation import printed
from tests.support.installation.rights import GUEST, USERS, broker_rights, store_rights
from tests.support.machine.running_stack import environment_without_settings
from tests.support.servers.secured.authority import Authority, authority
from tests.support.servers.secured.kafka import allow, broker_password, secured_kafka
from tests.support.servers.secured.minio import let, secret_key, secured_minio
from tests.support.servers.secured.postgres import ADMIN, catalog_password, secured_postgres

PREFIX = "clinic-"
PORTS = ("dimse", "gateway-metrics", "web", "flink")
# Also on a machine whose load is ten times its cores.
SOON_S = 240.0
# Nobody watches a test for two minutes of quiet.
SOON_DUE = {
    "FLUORO_STUDY_RELEASED_S": "1",
    "FLUORO_STUDY_QUIET_S": "2",
    "FLUORO_STUDY_QUIET_BY_MODALITY": "",
    "FLUORO_JOB_CHECKPOINT_S": "1",
}
NO_CHANGES: Mapping[str, str] = MappingProxyType({})
# What each long-running process prints once it runs.
RUNS = {"gateway": "listening on ", "deploy.web": "fluoro web ready", "deploy.flink.cluster": "jobs run: "}


@dataclass(frozen=True)
class Installation:
    """Servers with rights and passwords, and the settings of each process there."""

    folder: DataFolder
    signed: Authority
    broker: BrokerSettings
    store: StoreSettings
    catalog: CatalogSettings
    ports: Mapping[str, int]

    @property
    def api_url(self) -> str:
        """The URL of the web origin."""
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def secrets(self) -> list[str]:
        """Every password and key of the installation."""
        return [path.read_text() for path in self.files.iterdir() if path.suffix != ".pem"]

    @property
    def files(self) -> Path:
        """The folder that the document calls /etc/fluoro."""
        return self.folder.root / "etc"

    def settings(self, process: str) -> dict[str, str]:
        """Return the settings of a process: what the document prints, and this machine's addresses, ports and users."""
        given = {name: self._here(value) for name, value in printed.started().get(process, {}).items()}
        if process == "deploy.commands" or process.startswith("pipelines.batch."):
            given = self.settings("deploy.flink.cluster")
        return given | self._servers(USERS[process]) | self._ports() | SOON_DUE

    def _here(self, value: str) -> str:
        """Return a value of the document's example with what is here in its place."""
        for theirs, ours in {
            "db.clinic.example": self.catalog.host,
            "/etc/fluoro": str(self.files),
            "/srv": str(self.folder.root / "srv"),
            ":8081": f":{self.ports['flink']}",
        }.items():
            value = value.replace(theirs, ours)
        return value

    def _servers(self, user: str) -> dict[str, str]:
        authorities = str(self.files / "ca.pem")
        return {
            "FLUORO_CATALOG_PORT": str(self.catalog.port),
            "FLUORO_BROKER_BOOTSTRAP": self.broker.bootstrap,
            "FLUORO_BROKER_SECURITY_PROTOCOL": "SASL_SSL",
            "FLUORO_BROKER_TLS_CA": authorities,
            "FLUORO_BROKER_USER": user,
            "FLUORO_BROKER_PASSWORD_FILE": str(self.files / f"broker-{user}"),
            "FLUORO_STORE_ENDPOINT": self.store.endpoint,
            "FLUORO_STORE_TLS_CA": authorities,
            "FLUORO_STORE_BUCKET_PREFIX": PREFIX,
            "FLUORO_STORE_ACCESS_KEY": user,
            "FLUORO_STORE_SECRET_KEY_FILE": str(self.files / f"store-{user}"),
        }

    def _ports(self) -> dict[str, str]:
        return {
            "FLUORO_DATA": str(self.folder.root),
            "FLUORO_DIMSE_PORT": str(self.ports["dimse"]),
            "FLUORO_DIMSE_METRICS_PORT": str(self.ports["gateway-metrics"]),
            "FLUORO_DIMSE_PROCESSES": "1",
            "FLUORO_API_PORT": str(self.ports["web"]),
            "FLUORO_JOB_REST_PORT": str(self.ports["flink"]),
            "FLUORO_JOB_CHECKPOINT_DIR": str(self.folder.root / "checkpoints"),
            "FLUORO_BATCH_RUNS_DIR": str(self.folder.root / "batch"),
        }

    def environment(self, process: str, changes: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process, some of whose settings are changed."""
        return environment_without_settings() | self.settings(process) | dict(changes)

    def run(
        self, process: str, *arguments: str, changes: Mapping[str, str] = NO_CHANGES
    ) -> "subprocess.CompletedProcess[str]":
        """Run a process to its end; return its output."""
        return subprocess.run(
            [sys.executable, "-m", process, *arguments],
            env=self.environment(process, changes),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SOON_S,
            check=False,
        )

    @contextmanager
    def started(
        self, process: str, until: Callable[[Path], bool], changes: Mapping[str, str] = NO_CHANGES
    ) -> Iterator[Path]:
        """Run a process for the block, once something is true of its log, or the process has ended; yield its log."""
        log, env = self.folder.log(process), self.environment(process, changes)
        command = tied_to_this_process((sys.executable, "-m", process), None)
        with log.open("wb") as written:
            child = subprocess.Popen(command, env=env, cwd=ROOT, stdout=written, stderr=written)
            try:
                problem = f"{process} does not say what it should: see {log}"
                wait_until(lambda: until(log) or child.poll() is not None, SOON_S, problem)
                yield log
            finally:
                end(child)

    @contextmanager
    def running(self, process: str, changes: Mapping[str, str] = NO_CHANGES) -> Iterator[Path]:
        """Run a process for the block, once it says that it runs; yield its log."""
        with self.started(process, lambda log: RUNS[process] in log.read_text(), changes) as log:
            assert RUNS[process] in log.read_text(), log.read_text()
            yield log


@contextmanager
def installation(root: Path) -> Iterator[Installation]:
    """Run the servers for the block, with users and rights, but without anything of an archive."""
    folder = DataFolder(root)
    folder.make()
    signed = authority(root / "authority")
    users = (*USERS.values(), GUEST)
    with ExitStack() as servers:
        catalog = servers.enter_context(secured_postgres(folder, signed))
        store = servers.enter_context(secured_minio(folder, signed))
        broker = servers.enter_context(secured_kafka(folder, signed, users))
        allow(broker, broker_rights())
        let(store, folder, store_rights(PREFIX) | {GUEST: []})
        ports = choose_ports(folder, dict.fromkeys(PORTS, 0), {})
        made = Installation(folder, signed, broker, store, catalog, ports)
        write_files(made, users)
        yield made


def write_files(made: Installation, users: tuple[str, ...]) -> None:
    """Write the files that the settings name: certificates, passwords and keys."""
    made.files.mkdir()
    files = {"ca.pem": made.signed.ours.read_text(), "other-ca.pem": made.signed.other.read_text()}
    files |= {role: catalog_password(made.folder, role) for role in (ADMIN, "writer", "reader", GUEST)}
    files |= {f"broker-{user}": broker_password(made.folder, user) for user in users}
    files |= {f"store-{user}": secret_key(made.folder, user) for user in users}
    for name, text in files.items():
        (made.files / name).write_text(text)
