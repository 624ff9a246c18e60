"""DICOM JSON (PS3.18 F) of an object's header, and the binary values that it leaves out.

The header comes from anyone: an element that cannot be read costs itself, never the rest.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_dataset

from operators.dicom.plain_json import DicomJson, inline, plain
from operators.dicom.scan import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    OPAQUE_VRS,
    PIXEL_TAGS,
    inflate,
)
from operators.errors import Rejected

INLINE_BYTES = 1024
# A longer value of these VRs is an address too, whatever it holds: PS3.18 F.2.2 allows it.
TEXT_BYTES = 64 * 1024
ADDRESSABLE_VRS = frozenset({"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"})
DEPTH = 64
# Signed or not, their first number counts entries (PS3.3 C.7.6.3.1.5).
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})
PIXELS = frozenset(f"{tag:08X}" for tag in PIXEL_TAGS)
BINARY_VRS = OPAQUE_VRS | {"UN"}
JSON_BITS = 63
# PS3.3 C.12.1.1.2: JSON is UTF-8 whatever the file was.
UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}


@dataclass(frozen=True)
class Limit:
    """When to give up on a header: once `clock`, the seconds that a thread has computed, is past `end`."""

    clock: Callable[[], float] = lambda: 0.0
    end: float = 0.0

    def check(self) -> None:
        """Raise Rejected when it is time."""
        if self.clock() > self.end:
            raise Rejected("header-too-costly")


def dicom_json(
    header: bytes, prefix_length: int, transfer_syntax: str, address: str, limit: Limit = Limit()
) -> DicomJson:
    """Return the header's elements by tag, in order; values over INLINE_BYTES become addresses below `address`.

    `header` is the object's beginning; the first `prefix_length` bytes are preamble and file meta.
    Raises Rejected("unreadable-header") when nothing can be read, Rejected("header-too-costly") beyond the limit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _json(_data_set(header, prefix_length, transfer_syntax), f"{address}/bulkdata", DEPTH, limit)
    return dict(sorted({**found, "00080005": UTF_8, "00083002": _uid(transfer_syntax)}.items()))


def dumps(attributes: Any) -> bytes:
    """Return DICOM JSON as UTF-8 bytes; what has no UTF-8 becomes a question mark, too large a number its digits."""
    try:
        return orjson.dumps(attributes)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(attributes))


def placed(json: bytes, address: str) -> bytes:
    """Return the JSON of a header that was made with an empty address as one made with this address.

    No text in it can hold what is replaced: quotation marks in texts are escaped.
    """
    return json.replace(b'"BulkDataURI":"/', b'"BulkDataURI":"%b/' % address.encode())


def bulk_value(header: bytes, prefix_length: int, transfer_syntax: str, path: tuple[str, ...]) -> bytes | None:
    """Return the bytes of the binary value that a path of tags and item indices leads to; None when it leads nowhere.

    Raises Rejected("unreadable-header") when nothing can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = _data_set(header, prefix_length, transfer_syntax, path[0] if path else "")
        try:
            for step in path[:-1]:
                found = found[int(step)] if step.isdecimal() and len(step) < len("00000000") else found[int(step, 16)]
                found = found.value if isinstance(found, DataElement) else found
            element = found.get_item(int(path[-1], 16))
            value = None if (element.VR or _known_vr(element.tag)) == "SQ" else element.value
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes: there the path leads nowhere
            return None
    return value if isinstance(value, bytes) else None


def _data_set(header: bytes, prefix_length: int, transfer_syntax: str, wanted: str = "") -> Dataset:
    """Read a header, and its pixels when their tag is wanted."""
    data: bytes | bytearray = header[prefix_length:]
    if transfer_syntax in DEFLATED:
        data, _ = inflate(data)
    is_implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    is_little = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    try:
        return read_dataset(BytesIO(data), is_implicit, is_little, stop_when=None if wanted in PIXELS else _is_pixels)
    except Exception as error:  # pydicom raises many kinds on foreign bytes
        raise Rejected("unreadable-header") from error


def _is_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _json(data_set: Dataset, address: str, depth: int, limit: Limit) -> DicomJson:
    """Return a data set's elements, without group lengths and those that cannot be read."""
    limit.check()
    return {
        f"{tag:08X}": found
        for tag in sorted(data_set.keys())
        if tag & 0xFFFF and (found := _element(data_set, tag, address, depth, limit)) is not None
    }


def _element(data_set: Dataset, tag: int, address: str, depth: int, limit: Limit) -> dict[str, Any] | None:
    place = f"{address}/{tag:08X}"
    try:
        raw = data_set.get_item(tag)
        if isinstance(raw.value, bytes) and tag not in LUT_DESCRIPTORS:
            order = "<" if raw.is_little_endian else ">"
            found = _of_bytes(raw.VR or _known_vr(tag), raw.value, place, order)
            if found is not None:
                return found
        limit.check()
        return _by_pydicom(data_set[tag], place, depth, limit)
    except Rejected:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values; one element is lost, not all
        return None


def _by_pydicom(element: DataElement, place: str, depth: int, limit: Limit) -> dict[str, Any] | None:
    if element.VR == "SQ":
        return _sequence(element, place, depth - 1, limit) if depth else None
    if isinstance(element.value, bytes):
        return _binary(element, place)
    return _plain(element)


def _known_vr(tag: int) -> str:
    """Return the VR of an element that was written without; empty where the standard's dictionary does not say."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def _of_bytes(vr: str, value: bytes, place: str, order: str) -> dict[str, Any] | None:
    """Return an element that needs no more than its bytes; None for any other."""
    if vr in OPAQUE_VRS:
        return inline(vr, value) if len(value) <= INLINE_BYTES else {"vr": vr, "BulkDataURI": place}
    if len(value) > TEXT_BYTES and vr in ADDRESSABLE_VRS:
        return {"vr": vr, "BulkDataURI": place}
    return plain(vr, value, order)


def _sequence(element: DataElement, place: str, depth: int, limit: Limit) -> dict[str, Any]:
    items = [_json(item, f"{place}/{index}", depth, limit) for index, item in enumerate(element.value)]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _binary(element: DataElement, place: str) -> dict[str, Any]:
    vr = element.VR if element.VR in BINARY_VRS else "OW" if "OW" in element.VR else "UN"
    if len(element.value) > INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": place}
    return {"vr": vr} | {name: value for name, value in element.to_json_dict(None, 0).items() if name == "InlineBinary"}


def _plain(element: DataElement) -> dict[str, Any]:
    """Return any other element; numbers that are none are given as the text that stands there (PS3.18 F.2.3)."""
    try:
        found = dict(element.to_json_dict(None, 0))
    except (ValueError, TypeError, OverflowError):
        return {"vr": element.VR, "Value": list(_texts(element.value))}
    if "Value" in found:  # PS3.18 F.2.5: an empty one among others is null
        found["Value"] = [None if one == "" else one for one in found["Value"]]
    return found


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
    if isinstance(value, int) and value.bit_length() >= JSON_BITS:
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
