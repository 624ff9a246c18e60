"""The real stack, started once for all integration tests by the same code that starts it for users."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.install import layout
from deploy.local import checks
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up
from tests.support.machine.running_stack import environment_without_settings


@pytest.fixture(scope="session")
def installed() -> layout.Layout:
    """Return where the stack is installed; if it is not, skip the test, or fail it when CI is set."""
    here = layout.here()
    if absent := checks.missing(here):
        reason = f"not installed: {', '.join(absent)}; run make install"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return here


@pytest.fixture(scope="session")
def data_folder(installed: layout.Layout) -> Iterator[Path]:
    """A folder that the database's user can reach, unlike pytest's own folders."""
    assert installed
    folder = Path(tempfile.mkdtemp(prefix="fluoro-test-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stack(data_folder: Path) -> Iterator[RunningStack]:
    """The whole stack on free ports, with a folder of its own."""
    kept = environment_without_settings()
    out = data_folder.with_name("up.log")
    with brought_up(DataFolder(data_folder), kept, options=("--free-ports",), out=out) as started:
        yield started
