"""The archive behind proxies and on small disks, for all rows of this folder that need it."""

from collections.abc import Iterator

import pytest

from deploy.install import layout
from tests.conftest import absent
from tests.support.faults.servers.faulty_archive import FaultyArchive, faulty_archive


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultyArchive]:
    """Run the archive for the rows that need it."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    with faulty_archive() as archive:
        yield archive
