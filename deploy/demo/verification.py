"""Compare what the archive returns with the files that were sent."""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pynetdicom.dsutils import encode

from deploy.demo.dicomweb import Archive
from deploy.demo.study import StudyFile
from deploy.errors import Failed
from deploy.local.running import wait_until

QUERYABLE_S = 30.0
# The preamble, the prefix and the group length end at byte 144; the length's value says how long the rest of the file
# meta information is (PS3.10 7.1).
GROUP_LENGTH = slice(140, 144)


def wait_queryable(archive: Archive, files: Sequence[StudyFile]) -> int:
    """Wait until QIDO-RS counts every instance, and return how many there are; raises Failed when it does not."""
    instances = {(file.study_uid, file.sop_uid) for file in files}
    for study_uid, count in Counter(study_uid for study_uid, _ in instances).items():
        wait_counted(archive, study_uid, count)
    return len(instances)


def wait_counted(archive: Archive, study_uid: str, count: int) -> None:
    """Wait until QIDO-RS counts at least `count` instances of a study; raises Failed when it does not in time."""
    problem = f"not queryable within {QUERYABLE_S:.0f} s: study {study_uid}"
    wait_until(lambda: counted(archive, study_uid) >= count, QUERYABLE_S, problem)


def counted(archive: Archive, study_uid: str) -> int:
    """Return the number of a study's instances by QIDO-RS, 0 while the study is not found."""
    found = archive.find(study_uid)
    return int(found[0]["00201208"]["Value"][0]) if found else 0


def check_frame(archive: Archive, files: Sequence[StudyFile]) -> str:
    """Fetch the first frame of the first image and return a line about it; raises Failed when the frame has changed."""
    file = next((file for file in files if file.has_frames), None)
    if file is None:
        return "no frame to fetch: no file holds an image"
    frame = archive.frame(file.study_uid, file.series_uid, file.sop_uid)
    # A frame of odd length is padded (PS3.5 A.4).
    if frame.rstrip(b"\0") != first_frame(file.path).rstrip(b"\0"):
        raise Failed(f"frame 1 of {file.sop_uid} is not the one that was sent")
    return f"frame 1 of {file.sop_uid} fetched: {len(frame)} bytes, as sent"


def first_frame(path: Path) -> bytes:
    """Return the first frame of a file as it is encoded there (PS3.5 A.4 for encapsulated ones)."""
    dataset = dcmread(path)
    count = int(dataset.get("NumberOfFrames") or 1)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return bytes(next(generate_frames(dataset.PixelData, number_of_frames=count)))
    return bytes(dataset.PixelData[: len(dataset.PixelData) // count])


def check_instances(archive: Archive, files: Sequence[StudyFile]) -> None:
    """Fetch every study and compare each instance with its file; raises Failed when one differs or is missing."""
    paths = {(file.study_uid, file.sop_uid): file.path for file in files}
    returned = set()
    for study_uid in {file.study_uid for file in files}:
        for instance in archive.instances(study_uid):
            key = (study_uid, str(instance.SOPInstanceUID))
            if key in paths and not is_as_sent(instance, paths[key]):
                raise Failed(f"instance {key[1]} came back changed")
            returned.add(key)
    if missing := paths.keys() - returned:
        raise Failed(f"{len(missing)} of {len(paths)} instances did not come back")


def is_as_sent(instance: FileDataset, path: Path) -> bool:
    """True if an instance's data set equals, byte for byte, a file's or the one that storescu makes of the file.

    storescu reads and writes with pydicom, which leaves out group lengths (retired, PS3.5 7.2).
    """
    returned = data_set(instance)
    file = dcmread(BytesIO(path.read_bytes()))
    if returned == data_set(file):
        return True
    syntax = file.file_meta.TransferSyntaxUID
    return bool(returned == encode(file, syntax.is_implicit_VR, syntax.is_little_endian))


def data_set(file: FileDataset) -> bytes:
    """Return the bytes of a data set that was read from memory, inflated if they were deflated.

    pydicom keeps the buffer that it has read from: the whole file, or the inflated data set of a deflated file.
    """
    buffer: bytes = file.buffer.getvalue()
    if file.file_meta.TransferSyntaxUID.is_deflated:
        return buffer
    return buffer[GROUP_LENGTH.stop + int.from_bytes(buffer[GROUP_LENGTH], "little") :]
