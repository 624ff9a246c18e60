"""A data folder of its own for each test."""

from pathlib import Path

import pytest

from deploy.local.data_folder import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    return folder
