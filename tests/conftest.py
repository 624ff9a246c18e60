"""The fixtures of every test, and the profile of Hypothesis."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import brought_up
from tests.audit.ledger import Ledger
from tests.support.data.corpus import corpus_folder
from tests.support.machine.debian_tools import Programs, ProgramsUnavailable
from tests.support.machine.debian_tools import dcmtk as fetch_dcmtk
from tests.support.machine.debian_tools import prometheus as fetch_prometheus
from tests.support.machine.running_stack import end_on_term, environment_without_settings
from tests.support.proof import Proof

pytest_plugins = ("tests.support.faults.matrix",)
FACTS_KEY = "a key of thirty-two characters.."

# The duration of an example depends more on the machine's other work than on the code.
settings.register_profile("fluoro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fluoro")

# The folders of tests that send to whole archives with pynetdicom.
SENDING = ("e2e", "faults")
# The tests that fill the archive of these folders, which each audit reads as a whole: they run after all others.
FILLING = ("test_many_senders.py", "test_ten_thousand.py")


def pytest_configure() -> None:
    """Let a run that is asked to end stop its servers and remove its folders."""
    end_on_term()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore the socket of a refused connection, which pynetdicom leaves unclosed until it is collected; order the tests."""
    unclosed = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if any(Path(__file__).with_name(folder) in item.path.parents for folder in SENDING):
            item.add_marker(pytest.mark.filterwarnings(unclosed))
    items.sort(key=lambda item: item.path.name in FILLING)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Return the folder of real DICOM files; skip where it is absent."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("set FLUORO_CORPUS to a folder of DICOM files")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> Programs:
    """Return dcmtk's programs; skip, or fail where CI is set, when they cannot be fetched."""
    try:
        return fetch_dcmtk()
    except ProgramsUnavailable as why:
        absent(f"dcmtk: {why}")


@pytest.fixture(scope="session")
def prometheus_programs() -> Programs:
    """Return Prometheus and promtool; skip, or fail where CI is set, when they cannot be fetched."""
    try:
        return fetch_prometheus()
    except ProgramsUnavailable as why:
        absent(f"prometheus: {why}")


@pytest.fixture(scope="session")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """Start a stack of real servers for e2e/ and faults/ alone: the auditor judges everything in it."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-e2e-"))
    folder.chmod(0o755)
    kept = environment_without_settings()
    kept["FLUORO_FACTS_KEY"] = FACTS_KEY
    kept |= {"FLUORO_TESTS": "1", "FLUORO_JOB_FAILPOINT_FILE": str(folder / "failpoint")}
    up = brought_up(DataFolder(folder / "data"), kept, options=["--free-ports"], out=folder / "up.log")
    with up as archive, Ledger(tmp_path_factory.mktemp("ledger") / "sent.jsonl") as ledger:
        yield Proof(archive, ledger)
    # pynetdicom's unclosed sockets are collected here, not in a test of another folder.
    gc.collect()
    shutil.rmtree(folder)


def absent(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run; fail it where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
