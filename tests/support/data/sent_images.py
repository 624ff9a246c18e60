"""Images as senders write them, right and wrong: every attribute, length and byte of the pixels as the test wants it."""

import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info

from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_of
from tests.support.data.elements import SEQUENCE_END, item

OPEN = 0xFFFFFFFF
CT, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
PIXEL_DATA = (0x7FE0, 0x0010)


def native_image(pixels: bytes, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, vr: str = "OW", **elements: Any) -> bytes:
    """Return a file with these bytes as native Pixel Data, padded to an even length; `vr` is written if explicit."""
    pixels += bytes(len(pixels) % 2)
    return _file(syntax, elements, vr, len(pixels), pixels)


def encapsulated_image(fragments: Sequence[bytes], syntax: str, **elements: Any) -> bytes:
    """Return a file with an empty offset table and these fragments, each padded to an even length."""
    items = b"".join(item(fragment + bytes(len(fragment) % 2)) for fragment in fragments)
    return _file(syntax, elements, "OB", OPEN, item() + items + SEQUENCE_END)


def sequence_item(**elements: Any) -> Dataset:
    """Return an item of a sequence; a pair of VR and value gives an element another VR than the dictionary's."""
    return _data_set(elements)


def _data_set(elements: dict[str, Any]) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        if isinstance(value, tuple):
            found.add_new(keyword, *value)
        else:
            setattr(found, keyword, value)
    return found


def _file(syntax: str, elements: dict[str, Any], vr: str, length: int, value: bytes) -> bytes:
    whole = {"SOPClassUID": SECONDARY_CAPTURE, "SOPInstanceUID": "1.2.3.1.1", "StudyInstanceUID": "1.2.3"}
    whole |= {"SeriesInstanceUID": "1.2.3.1", "PatientID": "P", "Modality": "OT", **elements}
    written = transfer_syntax_of(syntax)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = not written.is_big_endian, not written.is_explicit
    write_dataset(buffer, _data_set(whole))
    order: Any = "big" if written.is_big_endian else "little"
    group, element = (number.to_bytes(2, order) for number in PIXEL_DATA)
    vr_bytes = vr.encode() + bytes(2) if written.is_explicit else b""
    data_set = buffer.getvalue() + group + element + vr_bytes + length.to_bytes(4, order) + value
    return _meta(syntax, whole) + (_deflated(data_set) if written.is_deflated else data_set)


def _meta(syntax: str, elements: dict[str, Any]) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = elements["SOPClassUID"], elements["SOPInstanceUID"]
    meta.TransferSyntaxUID, meta.ImplementationClassUID = syntax, "1.2.3.4"
    buffer = BytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def _deflated(data_set: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = stream.compress(data_set) + stream.flush()
    return whole + bytes(len(whole) % 2)


def described(rows: int, columns: int, **elements: Any) -> dict[str, Any]:
    """Return the elements of an image of unsigned 8-bit gray samples, and those given over them."""
    usual = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    return usual | elements
