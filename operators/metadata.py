"""DICOM JSON (PS3.18 F) of an object's header, and the binary values that it leaves out.

The header comes from anyone: an element that cannot be read costs itself, never the rest.
"""

import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import orjson
from pydicom import DataElement, Dataset
from pydicom.filereader import read_dataset

from operators.errors import Rejected
from operators.header import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    OPAQUE_VRS,
    PIXEL_TAGS,
    inflate,
)
from operators.rows import DicomJson

INLINE_BYTES = 1024
DEPTH = 64
BINARY_VRS = OPAQUE_VRS | {"UN"}
# PS3.3 C.12.1.1.2: JSON is UTF-8 whatever the file was.
UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}


def dicom_json(header: bytes, prefix_length: int, transfer_syntax: str, address: str) -> DicomJson:
    """Give the header's elements by tag, in order; values over INLINE_BYTES become addresses below `address`.

    `header` is the object's beginning; the first `prefix_length` bytes are preamble and file meta.
    Raises Rejected("unreadable-header") when nothing can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _json(_data_set(header, prefix_length, transfer_syntax), f"{address}/bulkdata", DEPTH)
    found.pop("00080000", None)
    return dict(sorted({**found, "00080005": UTF_8, "00083002": _uid(transfer_syntax)}.items()))


def dumps(attributes: Any) -> bytes:
    """Give DICOM JSON as UTF-8 bytes; what has no UTF-8 becomes a question mark."""
    try:
        return orjson.dumps(attributes)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(attributes))


def bulk_value(header: bytes, prefix_length: int, transfer_syntax: str, path: tuple[str, ...]) -> bytes | None:
    """Give the bytes of the binary value that a path of tags and item indices leads to; None when it leads nowhere.

    Raises Rejected("unreadable-header") when nothing can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = _data_set(header, prefix_length, transfer_syntax)
        try:
            for step in path[:-1]:
                found = found[int(step)] if step.isdecimal() and len(step) < len("00000000") else found[int(step, 16)]
                found = found.value if isinstance(found, DataElement) else found
            value = found[int(path[-1], 16)].value
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, NotImplementedError):
            return None
    return value if isinstance(value, bytes) else None


def _data_set(header: bytes, prefix_length: int, transfer_syntax: str) -> Dataset:
    data: bytes | bytearray = header[prefix_length:]
    if transfer_syntax in DEFLATED:
        data, _ = inflate(data)
    is_implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    is_little = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    try:
        return read_dataset(BytesIO(data), is_implicit, is_little, stop_when=_is_pixels)
    except Exception as error:  # pydicom raises many kinds on foreign bytes
        raise Rejected("unreadable-header") from error


def _is_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _json(data_set: Dataset, address: str, depth: int) -> DicomJson:
    """Give a data set's elements, without group lengths and those that cannot be read."""
    return {
        f"{tag:08X}": found
        for tag in sorted(data_set.keys())
        if tag & 0xFFFF and (found := _element(data_set, int(tag), address, depth)) is not None
    }


def _element(data_set: Dataset, tag: int, address: str, depth: int) -> dict[str, Any] | None:
    try:
        element = data_set[tag]
        place = f"{address}/{tag:08X}"
        if element.VR == "SQ":
            return _sequence(element, place, depth - 1) if depth else None
        if isinstance(element.value, bytes):
            return _binary(element, place)
        return _plain(element)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values; one element is lost, not all
        return None


def _sequence(element: DataElement, place: str, depth: int) -> dict[str, Any]:
    items = [_json(item, f"{place}/{index}", depth) for index, item in enumerate(element.value)]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _binary(element: DataElement, place: str) -> dict[str, Any]:
    vr = element.VR if element.VR in BINARY_VRS else "OW" if "OW" in element.VR else "UN"
    if len(element.value) > INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": place}
    return {"vr": vr} | {name: value for name, value in element.to_json_dict(None, 0).items() if name == "InlineBinary"}


def _plain(element: DataElement) -> dict[str, Any]:
    """Give any other element; numbers that are none are given as the text that stands there (PS3.18 F.2.3)."""
    try:
        return dict(element.to_json_dict(None, 0))
    except (ValueError, TypeError, OverflowError):
        return {"vr": element.VR, "Value": list(_texts(element.value))}


def _texts(value: Any) -> Iterator[str | None]:
    for one in value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]:
        yield str(one) or None


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
