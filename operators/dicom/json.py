"""DICOM JSON (PS3.18 F) of an object's header, and the binary values that it refers to by address.

Headers come from any sender: an element whose value is none of its VR is written as bytes, and nothing is left out.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import orjson
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_dataset
from pydicom.hooks import raw_element_vr

from operators.dicom.attributes import FACTS
from operators.dicom.element_json import (
    TEXTS,
    DicomJson,
    JsonElement,
    element_json,
    inline_binary,
    text_json,
    text_sent_as,
)
from operators.dicom.frames import DELIMITERS, ITEM_HEADER, item_bounds
from operators.dicom.part10 import META_GROUP
from operators.dicom.scan import OPAQUE_VRS, PIXEL_DATA, PIXEL_TAGS, Pixels, inflate, scan
from operators.dicom.text import DEFAULT_REPERTOIRE, CharacterSet, character_set_of, read_text
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_of
from operators.errors import Rejected
from operators.pieces import finished

INLINE_BYTES = 1024
# A longer value of these VRs is replaced by an address too: PS3.18 F.2.2 allows that for any VR.
TEXT_BYTES = 64 * 1024
ADDRESSABLE_VRS = frozenset({"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"})
DEPTH = 64
TAG_DIGITS = 8
# Their first number is unsigned, whatever their VR (PS3.3 C.7.6.3.1.5).
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})
# Of a value that is longer, reading is worth a look at the clock.
LONG_BYTES = 256
SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
US_BYTES = 2
# The VRs of pixels where a data set has no VRs: PS3.6 6.
PIXEL_VRS = dict(zip(PIXEL_TAGS, ("OF", "OD", "OW"), strict=True))
# The VRs of the texts that queries answer too, which are read as of these VRs whatever VR was sent: a client finds an
# attribute in the same form in both answers.
ANSWERED_VRS = {fact.tag: fact.vr for fact in FACTS if fact.vr in TEXTS and fact.answered != "never"}
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


@dataclass(frozen=True)
class AfterHeader:
    """What an object has after its header: its pixel element, the bytes of the elements behind that, and their start.

    Where nothing lies behind the pixels, `start` is 0.
    """

    pixels: Pixels | None = None
    behind: bytes = b""
    start: int = 0


class _Context(NamedTuple):
    """What holds for the values of a data set and of its items: their character set, the sign of their pixels."""

    deadline: CpuDeadline
    character_set: CharacterSet = DEFAULT_REPERTOIRE
    is_signed: bool = False


def dicom_json(  # noqa: PLR0913 (a header, where it is from, and what follows it)
    header: bytes,
    prefix_length: int,
    transfer_syntax: str,
    address: str,
    deadline: CpuDeadline = CpuDeadline(),
    *,
    after: AfterHeader = AfterHeader(),
) -> DicomJson:
    """Return an object's elements by tag, in order; pixels and long values become addresses below `address`.

    `header` is the object's beginning; its first `prefix_length` bytes are preamble and file meta. A deflated object
    must be given whole. Elements behind the pixels that cannot be read are left out.
    Raises Rejected("unreadable-header") when nothing can be read, Rejected("header-too-costly") past the deadline.
    """
    address = f"{address}/bulkdata"
    data, syntax = header[prefix_length:], transfer_syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if transfer_syntax_of(transfer_syntax).is_deflated:
            data, after = inflated_header(data)
            syntax = EXPLICIT_VR_LITTLE_ENDIAN
        data_set = _data_set(data, syntax)
        context = _context(data_set, _Context(deadline))
        found = _json(data_set, address, DEPTH, context)
        if after.behind:
            found |= _behind(after.behind, syntax, address, context)
    if after.pixels is not None:
        found[f"{after.pixels.tag:08X}"] = _pixels(after.pixels, address)
    return dict(sorted({**found, "00080005": UTF_8, "00083002": _uid(transfer_syntax)}.items()))


def inflated_header(deflated: bytes) -> tuple[bytes, AfterHeader]:
    """Return the header of a deflated data set, inflated, and what follows it."""
    data = bytes(inflate(deflated).data)
    try:
        found = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, frozenset())
    except Rejected:
        return data, AfterHeader()
    if found.pixels is None:
        return data, AfterHeader()
    if found.pixels.length is None:
        bounds, _ = finished(item_bounds(found))
        behind = data[bounds[-1] + ITEM_HEADER.size :] if data.startswith(DELIMITERS, bounds[-1]) else b""
    else:
        behind = data[found.pixels.start + found.pixels.length :]
    return data[: found.end], AfterHeader(found.pixels, behind)


def _pixels(pixels: Pixels, address: str) -> JsonElement:
    vr = pixels.vr or PIXEL_VRS[pixels.tag]
    return {"vr": vr} if pixels.length == 0 else {"vr": vr, "BulkDataURI": f"{address}/{pixels.tag:08X}"}


def _behind(behind: bytes, transfer_syntax: str, address: str, context: _Context) -> DicomJson:
    """Return the elements behind the pixels; none if the bytes there are no elements, or such as lie before pixels."""
    try:
        scan(behind, transfer_syntax, frozenset())
        data_set = _data_set(behind, transfer_syntax)
    except Rejected:
        return {}
    if any(tag <= PIXEL_DATA for tag in data_set.keys()):  # noqa: SIM118 (iterating reads every element)
        return {}
    return _json(data_set, address, DEPTH, context)


def dumps(attributes: Any) -> bytes:
    """Return DICOM JSON as UTF-8 bytes."""
    return orjson.dumps(attributes)


def with_address(json: bytes, address: str) -> bytes:
    """Put an address into a header's JSON that was made with an empty address.

    No value can be mistaken for an address: quotation marks inside texts are escaped.
    """
    return json.replace(b'"BulkDataURI":"/', b'"BulkDataURI":"%b/' % address.encode())


def bulk_value(data: bytes, prefix_length: int, transfer_syntax: str, path: tuple[str, ...]) -> bytes | None:
    """Return the binary value that a path of tags and item indices leads to; None when there is none.

    `data` is the beginning of an object, with `prefix_length` bytes of preamble and file meta, or the elements behind
    its pixels.
    Raises Rejected("unreadable-header") when nothing can be read.
    """
    data = data[prefix_length:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if transfer_syntax_of(transfer_syntax).is_deflated:
            data = bytes(inflate(data).data)
        is_in_header = not path or path[0] < f"{min(PIXEL_TAGS):08X}"
        data_set = _data_set(data, transfer_syntax, is_header=is_in_header)
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
    return None if (element.VR or _vr_of(element, found, is_signed=False)) == "SQ" else element.value


def _data_set(data: bytes, transfer_syntax: str, *, is_header: bool = True) -> Dataset:
    """Read elements; those of a header end where the pixels begin."""
    syntax = transfer_syntax_of(transfer_syntax)
    stop_when = _is_pixels if is_header else None
    try:
        return read_dataset(BytesIO(data), not syntax.is_explicit, not syntax.is_big_endian, stop_when=stop_when)
    except Exception as error:  # pydicom raises many kinds on foreign bytes
        raise Rejected("unreadable-header") from error


def _is_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _context(data_set: Dataset, outer: _Context) -> _Context:
    """Return the context of a data set's values; an item without its own has that of the data set it lies in."""
    terms, sign = (_bytes(data_set, tag) for tag in (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION))
    if terms is not None:
        outer = outer._replace(character_set=character_set_of(read_text(terms, "CS", DEFAULT_REPERTOIRE).text))
    return outer if sign is None else outer._replace(is_signed=any(sign))


def _bytes(data_set: Dataset, tag: int) -> bytes | None:
    value = data_set.get_item(tag).value if tag in data_set else None
    return value if isinstance(value, bytes) else None


def _json(data_set: Dataset, address: str, depth: int, context: _Context) -> DicomJson:
    """Return a data set's elements, without group lengths and file meta.

    An object may have file meta in its data set: a sender put it there, or the group length that once divided the two
    was too short.
    """
    context.deadline.check()
    found = {}
    # All are taken as they were read before any is asked for, because pydicom converts others with a sequence.
    raws = sorted((int(tag), raw) for tag, raw in data_set.items() if tag & 0xFFFF and tag >> 16 != META_GROUP)
    for tag, raw in raws:
        element = _element(data_set, raw, f"{address}/{tag:08X}", depth, context)
        if element is not None:
            found[f"{tag:08X}"] = element
    return found


def _element(data_set: Dataset, raw: Any, address: str, depth: int, context: _Context) -> JsonElement | None:
    tag, value = raw.tag, raw.value or b""
    vr = raw.VR if raw.VR and raw.VR != "UN" else _vr_of(raw, data_set, is_signed=context.is_signed)
    if vr == "SQ":
        try:
            return _sequence(data_set[tag], address, depth - 1, context) if depth else None
        except Rejected:
            raise
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes: they are no items
            return _opaque("UN", value, address) if isinstance(value, bytes) else None
    if not isinstance(value, bytes):
        return None
    if len(value) > LONG_BYTES:
        context.deadline.check()
    order = "<" if getattr(raw, "is_little_endian", True) else ">"
    if (found := _answered_text(tag, vr, value, order, context)) is not None:
        return found
    found = _from_bytes(vr, value, address, order, context)
    if tag in LUT_DESCRIPTORS and vr == "SS" and "Value" in found:
        found["Value"][0] &= 0xFFFF
    return found


def _answered_text(tag: int, vr: str, value: bytes, order: str, context: _Context) -> JsonElement | None:
    """Return the element of a text that queries answer too; None for any other, or one without values."""
    answered = ANSWERED_VRS.get(tag)
    if answered is None or len(value) > TEXT_BYTES:
        return None
    found = text_sent_as(vr, answered, value, order, context.character_set)
    return None if found is None else text_json(answered, found.text)


def known_vr(tag: int) -> str:
    """Return the VR of a tag in the standard's dictionary; empty when it has no such tag."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def _vr_of(raw: Any, data_set: Dataset, *, is_signed: bool) -> str:
    """Return the VR of an element without VR, or of UN, by the standard's dictionary; UN for an unknown one."""
    if isinstance(raw, DataElement):
        return str(raw.VR)
    vr = known_vr(raw.tag) if raw.VR is None else ""
    if not vr:
        found: dict[str, Any] = {}
        raw_element_vr(raw, found, ds=data_set)
        vr = str(found["VR"])
    if " or " not in vr:
        return vr
    # PS3.5 A.1: which of the VRs in the dictionary is meant depends on other elements.
    if "OW" not in vr:
        return "SS" if is_signed else "US"
    return "US" if "US" in vr and len(raw.value or b"") == US_BYTES else "OW"


def _from_bytes(vr: str, value: bytes, address: str, order: str, context: _Context) -> JsonElement:
    """Return the element with this value; where JSON has none for it, its bytes or their address."""
    if vr in OPAQUE_VRS:
        return _opaque(vr, value, address)
    is_addressable = vr in ADDRESSABLE_VRS
    if len(value) > TEXT_BYTES and is_addressable:
        return {"vr": vr, "BulkDataURI": address}
    found = element_json(vr, value, order, context.character_set)
    if found is not None:
        return found
    return {"vr": vr, "BulkDataURI": address} if is_addressable else _opaque("UN", value, address)


def _opaque(vr: str, value: bytes, address: str) -> JsonElement:
    return inline_binary(vr, value) if len(value) <= INLINE_BYTES else {"vr": vr, "BulkDataURI": address}


def _sequence(element: DataElement, address: str, depth: int, context: _Context) -> JsonElement:
    items = [_item(item, f"{address}/{index}", depth, context) for index, item in enumerate(element.value)]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _item(item: Dataset, address: str, depth: int, outer: _Context) -> DicomJson:
    found = _json(item, address, depth, _context(item, outer))
    return found | {"00080005": UTF_8} if "00080005" in found else found


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}
