"""What every test may ask for."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Give the folder of real DICOM files; skip where it is absent."""
    folder = Path(os.environ.get("FLUORO_CORPUS", ROOT / "../shared/corpus")).resolve()
    if not folder.is_dir():
        pytest.skip("set FLUORO_CORPUS to a folder of DICOM files")
    return folder
