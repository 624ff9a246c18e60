"""One stack, one ledger and one auditor for all tests of this folder."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.support.machine.running_stack import address_of
from tests.support.senders.sender import Peer, Tally, send

# What may still happen after the last answer: a lost transfer keeps its study open for half a minute.
BOUND_S = 120.0
# What the user says about the installation holds in tests too; nothing else does.
INSTALLED = ("FLUORO_CACHE", "FLUORO_MINIO")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bear with pynetdicom, which drops the socket of a refused connection unclosed; it is collected some time later."""
    unclosed = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(unclosed))


@dataclass(frozen=True)
class Proof:
    """An archive under test, and the ledger of everything that was ever sent to it."""

    archive: RunningStack
    ledger: Ledger

    @property
    def peer(self) -> Peer:
        """Return the DIMSE door, as a sender knows it."""
        return Peer(self.archive.dimse_port)

    def send(self, paths: list[Path]) -> Tally:
        """Send files until all are acknowledged."""
        return send(paths, self.peer, self.ledger)

    def wrong(self, wait_s: float = BOUND_S) -> dict[str, list[str]]:
        """Audit, and give what is wrong: nothing, by the bound."""
        sets = audit(address_of(self.archive), [self.ledger.path], wait_s=wait_s).sets
        return {name: [f"{one.subject}: {one.why}" for one in found] for name, found in sets.items() if found}


@pytest.fixture(scope="session")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """Return a stack of real servers of its own: the auditor judges all that it holds."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-e2e-"))
    folder.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_") or name in INSTALLED}
    up = brought_up(DataFolder(folder / "data"), kept, options=["--free-ports"], out=folder / "up.log")
    with up as archive, Ledger(tmp_path_factory.mktemp("ledger") / "sent.jsonl") as ledger:
        yield Proof(archive, ledger)
    # Those sockets end here, not in a test of another folder.
    gc.collect()
    shutil.rmtree(folder)
