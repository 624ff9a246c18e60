"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("fluoro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fluoro")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Give the folder of real DICOM files; skip where it is absent."""
    folder = Path(os.environ.get("FLUORO_CORPUS", ROOT / "../shared/corpus")).resolve()
    if not folder.is_dir():
        pytest.skip("set FLUORO_CORPUS to a folder of DICOM files")
    return folder
