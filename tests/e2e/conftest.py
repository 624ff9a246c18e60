"""One running stack, and the ledger of everything sent to it, for all tests of this folder."""

import gc
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
from tests.support.machine.running_stack import address_of, environment_without_settings
from tests.support.senders.sender import Peer, Tally, send

# How long things may still happen after the last answer: a lost transfer keeps its study open for half a minute.
BOUND_S = 120.0
FACTS_KEY = "a key of thirty-two characters.."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore the socket of a refused connection, which pynetdicom leaves unclosed until it is collected."""
    unclosed = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(unclosed))


@dataclass(frozen=True)
class Proof:
    """An archive under test, and the ledger of everything that was sent to it."""

    archive: RunningStack
    ledger: Ledger

    @property
    def peer(self) -> Peer:
        """Return the address of the DIMSE door."""
        return Peer(self.archive.dimse_port)

    def send(self, paths: list[Path]) -> Tally:
        """Send files until all are acknowledged."""
        return send(paths, self.peer, self.ledger)

    def wrong(self, wait_s: float = BOUND_S) -> dict[str, list[str]]:
        """Audit the archive until nothing is wrong or `wait_s` are over; return the findings by set."""
        sets = audit(address_of(self.archive), [self.ledger.path], wait_s=wait_s).sets
        return {name: [f"{one.subject}: {one.why}" for one in found] for name, found in sets.items() if found}


@pytest.fixture(scope="session")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """Start a stack of real servers for these tests alone: the auditor judges everything in it."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-e2e-"))
    folder.chmod(0o755)
    kept = environment_without_settings()
    kept["FLUORO_FACTS_KEY"] = FACTS_KEY
    up = brought_up(DataFolder(folder / "data"), kept, options=["--free-ports"], out=folder / "up.log")
    with up as archive, Ledger(tmp_path_factory.mktemp("ledger") / "sent.jsonl") as ledger:
        yield Proof(archive, ledger)
    # pynetdicom's unclosed sockets are collected here, not in a test of another folder.
    gc.collect()
    shutil.rmtree(folder)
