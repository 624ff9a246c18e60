"""The files of a study on disk."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from deploy.errors import Failed

BYTE_BITS = 8


@dataclass(frozen=True)
class StudyFile:
    """One DICOM file, and the instance that it holds."""

    path: Path
    study_uid: str
    series_uid: str
    sop_uid: str
    has_frames: bool


def read_study(folder: Path) -> tuple[StudyFile, ...]:
    """Return the files in a folder and the folders below that hold an instance; raises Failed when there are none."""
    if not folder.is_dir():
        raise Failed(f"{folder} is not a folder: give STUDY a folder of DICOM files")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(file for file in map(read_file, paths) if file)
    if not files:
        raise Failed(f"{folder} holds no DICOM files with the UIDs of an image: give STUDY another folder")
    return files


def read_file(path: Path) -> StudyFile | None:
    """Return a file with the instance that it holds; None when storescu would not send the file either."""
    with suppress(InvalidDicomError, AttributeError, OSError):
        dataset = dcmread(path, stop_before_pixels=True)
        study_uid, series_uid, sop_uid = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
        if dataset.SOPClassUID and dataset.file_meta.TransferSyntaxUID and sop_uid:
            has_frames = dataset.get("BitsAllocated", 0) >= BYTE_BITS
            return StudyFile(path, str(study_uid), str(series_uid), str(sop_uid), has_frames)
    return None
