"""What every test may ask for."""

import os
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.support.machine.debian_tools import NotHere, Programs
from tests.support.machine.debian_tools import dcmtk as fetch_dcmtk

ROOT = Path(__file__).parents[1]

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("fluoro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fluoro")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Return the folder of real DICOM files; skip where it is absent."""
    folder = Path(os.environ.get("FLUORO_CORPUS", ROOT / "../shared/corpus")).resolve()
    if not folder.is_dir():
        pytest.skip("set FLUORO_CORPUS to a folder of DICOM files")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> Programs:
    """Return dcmtk's programs; skip by name where they cannot be had, and fail there when CI is set."""
    try:
        return fetch_dcmtk()
    except NotHere as why:
        absent(f"dcmtk: {why}")


def absent(reason: str) -> NoReturn:
    """Skip by name what this machine cannot do; where CI is set that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
