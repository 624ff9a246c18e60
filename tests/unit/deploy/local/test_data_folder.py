"""The data folder is chosen where PostgreSQL can reach it, is never somebody else's folder, and keeps its secrets."""

import os
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.local import data_folder
from deploy.local.data_folder import DataFolder


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/nope", "/etc/passwd/data"])
def test_a_path_that_cannot_be_a_folder_is_refused_with_what_to_do(path: str) -> None:
    with pytest.raises(Failed, match=f"^{path} cannot hold data .*: set FLUORO_DATA to another folder$"):
        DataFolder(Path(path)).make()


def test_secrets_are_kept_and_readable_only_by_their_owner(folder: DataFolder) -> None:
    first, second = folder.secret("owner"), folder.secret("owner")

    assert first == second
    assert len(first) >= 32
    assert (folder.root / "secrets" / "owner").stat().st_mode & 0o777 == 0o600


def test_a_folder_with_other_files_is_never_taken_for_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(Failed, match="not empty and not a data folder"):
        DataFolder(tmp_path).make()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a home that the database's user may not enter")
def test_the_data_of_root_go_to_a_folder_that_the_database_can_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder, reason = data_folder.choose({}, tmp_path)

    assert folder.root == data_folder.SYSTEM_DATA
    assert reason
    assert len(reason.splitlines()) == 1
    assert data_folder.choose({"FLUORO_DATA": str(tmp_path)}, tmp_path) == (DataFolder(tmp_path), None)
