"""DICOM JSON (PS3.18 F) of an object's header, and the binary values that it refers to by address.

Headers come from any sender: an element that cannot be read is left out, and the others are still answered.
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

from operators.dicom.element_json import DicomJson, inline_binary, simple_element
from operators.dicom.part10 import META_GROUP
from operators.dicom.scan import OPAQUE_VRS, PIXEL_TAGS, inflate
from operators.dicom.transfer_syntaxes import transfer_syntax_of
from operators.errors import Rejected

INLINE_BYTES = 1024
# A longer value of these VRs is replaced by an address too: PS3.18 F.2.2 allows that for any VR.
TEXT_BYTES = 64 * 1024
ADDRESSABLE_VRS = frozenset({"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"})
DEPTH = 64
TAG_DIGITS = 8
# Their first number is unsigned, whatever their VR (PS3.3 C.7.6.3.1.5): left to pydicom.
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})
PIXELS = frozenset(f"{tag:08X}" for tag in PIXEL_TAGS)
BINARY_VRS = OPAQUE_VRS | {"UN"}
JSON_BITS = 63
# PS3.3 C.12.1.1.2: JSON is UTF-8 whatever the file was.
UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}


@dataclass(frozen=True)
class CpuDeadline:
    """When to stop reading a header: once `clock`, in CPU seconds of the thread, is past `end`."""

    clock: Callable[[], float] = lambda: 0.0
    end: float = 0.0

    def check(self) -> None:
        """Raise Rejected("header-too-costly") when the deadline is past."""
        if self.clock() > self.end:
            raise Rejected("header-too-costly")


def dicom_json(
    header: bytes, prefix_length: int, transfer_syntax: str, address: str, deadline: CpuDeadline = CpuDeadline()
) -> DicomJson:
    """Return the header's elements by tag, in order; binary values over INLINE_BYTES become addresses below `address`.

    `header` is the object's beginning; its first `prefix_length` bytes are preamble and file meta.
    Raises Rejected("unreadable-header") when nothing can be read, Rejected("header-too-costly") past the deadline.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _json(_data_set(header, prefix_length, transfer_syntax), f"{address}/bulkdata", DEPTH, deadline)
    return dict(sorted({**found, "00080005": UTF_8, "00083002": _uid(transfer_syntax)}.items()))


def dumps(attributes: Any) -> bytes:
    """Return DICOM JSON as UTF-8 bytes; a lone surrogate becomes a question mark, a too large number a string."""
    try:
        return orjson.dumps(attributes)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(attributes))


def with_address(json: bytes, address: str) -> bytes:
    """Put an address into a header's JSON that was made with an empty address.

    No value can be mistaken for an address: quotation marks inside texts are escaped.
    """
    return json.replace(b'"BulkDataURI":"/', b'"BulkDataURI":"%b/' % address.encode())


def bulk_value(header: bytes, prefix_length: int, transfer_syntax: str, path: tuple[str, ...]) -> bytes | None:
    """Return the binary value that a path of tags and item indices leads to; None when there is none.

    Raises Rejected("unreadable-header") when nothing can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = _data_set(header, prefix_length, transfer_syntax, path[0] if path else "")
        try:
            value = _follow(data_set, path)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes: then there is no value
            return None
    return value if isinstance(value, bytes) else None


def _follow(found: Any, path: tuple[str, ...]) -> Any:
    """Return the value at the end of a path; raises any exception when a step does not exist."""
    for step in path[:-1]:
        found = found[int(step)] if step.isdecimal() and len(step) < TAG_DIGITS else found[int(step, 16)]
        found = found.value if isinstance(found, DataElement) else found
    element = found.get_item(int(path[-1], 16))
    return None if (element.VR or _known_vr(element.tag)) == "SQ" else element.value


def _data_set(header: bytes, prefix_length: int, transfer_syntax: str, wanted: str = "") -> Dataset:
    """Read a header, with its pixels when their tag is the wanted one."""
    syntax = transfer_syntax_of(transfer_syntax)
    data: bytes | bytearray = header[prefix_length:]
    if syntax.is_deflated:
        data, _ = inflate(data)
    stop_when = None if wanted in PIXELS else _is_pixels
    try:
        return read_dataset(BytesIO(data), not syntax.is_explicit, not syntax.is_big_endian, stop_when=stop_when)
    except Exception as error:  # pydicom raises many kinds on foreign bytes
        raise Rejected("unreadable-header") from error


def _is_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _json(data_set: Dataset, address: str, depth: int, deadline: CpuDeadline) -> DicomJson:
    """Return a data set's elements, without group lengths, file meta and elements that cannot be read.

    An object may have file meta in its data set: a sender put it there, or the group length that once divided the two
    was too short.
    """
    deadline.check()
    return {
        f"{tag:08X}": found
        for tag in sorted(data_set.keys())
        if tag & 0xFFFF
        and tag >> 16 != META_GROUP
        and (found := _element(data_set, tag, address, depth, deadline)) is not None
    }


def _element(data_set: Dataset, tag: int, parent: str, depth: int, deadline: CpuDeadline) -> dict[str, Any] | None:
    address = f"{parent}/{tag:08X}"
    try:
        raw = data_set.get_item(tag)
        if isinstance(raw.value, bytes) and tag not in LUT_DESCRIPTORS:
            order = "<" if raw.is_little_endian else ">"
            found = _from_bytes(raw.VR or _known_vr(tag), raw.value, address, order)
            if found is not None:
                return found
        deadline.check()
        return _by_pydicom(data_set[tag], address, depth, deadline)
    except Rejected:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values: this element alone is left out
        return None


def _by_pydicom(element: DataElement, address: str, depth: int, deadline: CpuDeadline) -> dict[str, Any] | None:
    if element.VR == "SQ":
        return _sequence(element, address, depth - 1, deadline) if depth else None
    if isinstance(element.value, bytes):
        return _binary(element, address)
    return _plain(element)


def _known_vr(tag: int) -> str:
    """Return the VR of a tag in the standard's dictionary, for an element without VR; empty when it has no such tag."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def _from_bytes(vr: str, value: bytes, address: str, order: str) -> dict[str, Any] | None:
    """Return an element that can be made from its bytes alone; None when pydicom must read it."""
    if vr in OPAQUE_VRS:
        return inline_binary(vr, value) if len(value) <= INLINE_BYTES else {"vr": vr, "BulkDataURI": address}
    if len(value) > TEXT_BYTES and vr in ADDRESSABLE_VRS:
        return {"vr": vr, "BulkDataURI": address}
    return simple_element(vr, value, order)


def _sequence(element: DataElement, address: str, depth: int, deadline: CpuDeadline) -> dict[str, Any]:
    items = [_json(item, f"{address}/{index}", depth, deadline) for index, item in enumerate(element.value)]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _binary(element: DataElement, address: str) -> dict[str, Any]:
    vr = element.VR if element.VR in BINARY_VRS else "OW" if "OW" in element.VR else "UN"
    if len(element.value) > INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": address}
    return {"vr": vr} | {name: value for name, value in element.to_json_dict(None, 0).items() if name == "InlineBinary"}


def _plain(element: DataElement) -> dict[str, Any]:
    """Return any other element; a value that should be a number but is not becomes text (PS3.18 F.2.3)."""
    try:
        found = dict(element.to_json_dict(None, 0))
    except (ValueError, TypeError, OverflowError):
        return {"vr": element.VR, "Value": list(_texts(element.value))}
    if "Value" in found:  # PS3.18 F.2.5: an empty value among others is null
        found["Value"] = [None if value == "" else value for value in found["Value"]]
    return found


def _texts(value: Any) -> Iterator[str | None]:
    for part in value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]:
        yield str(part) or None


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encodable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_encodable(member) for member in value]
    if isinstance(value, int) and value.bit_length() >= JSON_BITS:
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
