"""A folder is read as the instances that storescu will send from it."""

import uuid
from pathlib import Path

import pytest

from deploy.demo.sample import write_ct
from deploy.demo.study import read_study
from deploy.errors import Failed

RUN = uuid.UUID(bytes=bytes([7] * 16))


def test_a_folder_is_read_as_the_instances_that_will_be_sent(tmp_path: Path) -> None:
    study_uid = write_ct(tmp_path, RUN, slices=3)
    (tmp_path / "readme.txt").write_text("not DICOM")
    files = read_study(tmp_path)

    assert len({file.sop_uid for file in files}) == 3
    assert {file.study_uid for file in files} == {study_uid}
    assert all(file.has_frames for file in files)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_folder_without_dicom_files_is_reported_with_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match="give STUDY"):
        read_study(tmp_path / name)
