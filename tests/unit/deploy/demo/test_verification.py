"""An instance counts as returned only if its data set is the file's, byte for byte."""

import uuid
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from deploy.demo.sample import write_ct
from deploy.demo.verification import is_as_sent

RUN = uuid.UUID(bytes=bytes([7] * 16))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_one_changed_byte_is_a_changed_data_set(tmp_path: Path, syntax: UID) -> None:
    path = write(tmp_path, syntax)
    same, changed = dcmread(BytesIO(path.read_bytes())), dcmread(path)
    pixels = bytes(changed.PixelData)
    changed.PixelData = pixels[:-1] + bytes([pixels[-1] ^ 1])
    file = BytesIO()
    changed.save_as(file)

    assert is_as_sent(same, path)
    assert not is_as_sent(dcmread(BytesIO(file.getvalue())), path)


def write(folder: Path, syntax: UID) -> Path:
    write_ct(folder, RUN, slices=1)
    path = folder / "0001.dcm"
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


def test_a_file_that_storescu_has_written_without_group_lengths_is_as_sent(tmp_path: Path) -> None:
    path = write(tmp_path, ExplicitVRLittleEndian)
    part10 = path.read_bytes()
    end_of_meta = 144 + int.from_bytes(part10[140:144], "little")
    # (0008,0000) UL, four bytes: the length of group 0008, which readers ignore.
    length = b"\x08\x00\x00\x00UL\x04\x00" + bytes(4)
    with_length = tmp_path / "with-length.dcm"
    with_length.write_bytes(part10[:end_of_meta] + length + part10[end_of_meta:])

    assert is_as_sent(dcmread(BytesIO(part10)), with_length)
