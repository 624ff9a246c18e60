"""Servers of one's own, for the tests of one module."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.install import layout
from tests.conftest import absent
from tests.support.installation.installation import Installation, installation


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    """Run the servers, with users and rights, and prepare them once."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    # Not below pytest's own folder, which is closed to the user that the database runs as.
    folder = Path(tempfile.mkdtemp(prefix="fluoro-installation-"))
    folder.chmod(0o755)
    with installation(folder / "data") as made:
        prepared = made.run("deploy.prepare")
        assert prepared.returncode == 0, prepared.stderr
        yield made
    shutil.rmtree(folder)
