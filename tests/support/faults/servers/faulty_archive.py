"""An archive of a test's own, with a proxy before each server and small disks below store and catalog."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.running import brought_up
from deploy.local.servers import create_database, postgres_account
from tests.audit.ledger import Ledger
from tests.support.faults.proxy import FaultProxy, proxied
from tests.support.faults.small_disk import small_disk
from tests.support.machine.running_stack import environment_without_settings
from tests.support.proof import Proof

SERVERS = ("kafka", "minio", "postgres")
# Room for a soak of ten minutes.
STORE_BYTES, CATALOG_BYTES = 3 * 2**30, 2**30
MODULE = ("tests.support.faults.servers.proxied_stack",)
# What a gateway's process may hold of instances: little, so that a test reaches it.
MEMORY_BYTES = 64 * 2**20
SETTINGS = {
    "FLUORO_INTAKE_MEMORY_PROCESS_BYTES": str(MEMORY_BYTES),
    "FLUORO_DIMSE_ASSOCIATIONS_PER_ADDRESS": "200",
}


@dataclass(frozen=True)
class FaultyArchive:
    """The archive with its ledger, the proxy before each server, and the disks of store and catalog."""

    proof: Proof
    proxies: Mapping[str, FaultProxy]
    disks: Mapping[str, Path]


@contextmanager
def faulty_archive() -> Iterator[FaultyArchive]:
    """Run the archive for the block; skip the test where no disk can be mounted."""
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    root = Path(tempfile.mkdtemp(prefix="fluoro-faults-"))
    root.chmod(0o755)
    folder = DataFolder(root / "data")
    folder.make()
    disks = {"minio": folder.root / "minio", "postgres": root / "tablespace"}
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, root)
        opened.enter_context(small_disk(disks["minio"], STORE_BYTES))
        opened.enter_context(small_disk(disks["postgres"], CATALOG_BYTES))
        create_catalog(folder, disks["postgres"])
        ports = choose_ports(folder, dict.fromkeys(SERVERS, 0), {})
        proxies = {name: opened.enter_context(proxied(ports[name])) for name in SERVERS}
        options = [f"{name}={proxy.port}" for name, proxy in proxies.items()]
        settings = environment_without_settings() | SETTINGS
        up = brought_up(folder, settings, options=options, out=root / "up.log", module=MODULE)
        archive = opened.enter_context(up)
        ledger = opened.enter_context(Ledger(root / "sent.jsonl"))
        yield FaultyArchive(Proof(archive, ledger), proxies, disks)


def create_catalog(folder: DataFolder, disk: Path) -> None:
    """Create the database as a first start does, and move it to a disk of its own."""
    programs, user = layout.here().postgres_bin, postgres_account.ensure()
    disk.chmod(0o700)
    if user:
        shutil.chown(disk, user)
    create_database.create(folder, programs, user)
    moves = (
        f"CREATE TABLESPACE small LOCATION '{disk}'",
        f"ALTER DATABASE {create_database.DATABASE} SET TABLESPACE small",
    )
    single_user = (programs / "postgres", "--single", "-j", "-D", folder.root / "postgres", "-c", "exit_on_error=on")
    create_database.run((*single_user, "template1"), user, ";\n\n".join(moves) + ";\n\n")
