"""One image of a study is kept back, so that it comes late; the others are sent as they are, by links to them."""

from pathlib import Path

import pytest

from deploy.demo.following import late_image, link
from deploy.demo.study import StudyFile


def file(study_uid: str, sop_uid: str, name: str = "") -> StudyFile:
    return StudyFile(Path(name or f"{sop_uid}.dcm"), study_uid, "1", sop_uid, has_frames=True)


A, B, C, OTHER = file("1", "1.1"), file("1", "1.2"), file("1", "1.3"), file("2", "2.1")


@pytest.mark.parametrize(
    ("files", "late"),
    [
        ([A, B, C], C),
        ([A, B, OTHER], B),
        ([A], None),
        ([A, OTHER], None),
        ([A, file("1", "1.1", "copy.dcm")], None),
        ([A, B, file("1", "1.2", "copy.dcm")], A),
        ([], None),
    ],
)
def test_the_late_image_is_the_last_of_a_study_that_has_another(files: list[StudyFile], late: StudyFile | None) -> None:
    assert late_image(files) == late


def test_links_lead_to_the_files_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b", "a")]
    for path in paths:
        path.write_text(path.name)

    folder = link([StudyFile(path, "1", "1", "1", has_frames=True) for path in paths], tmp_path / "linked")
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["b", "a"]
