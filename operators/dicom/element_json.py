"""DICOM JSON of single elements, made from their bytes (PS3.18 F.2).

Nothing is left out and nothing becomes another value: where JSON has no number for a value, IS, DS, SV and UV become a
text, which the standard allows for them alone (F.2.3); an element of another VR is left to the caller, who must refer
to its bytes.
"""

import re
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from operators.dicom.text import ONE_TEXT_VRS, CharacterSet, DecodedText, name_groups, read_text
from operators.dicom.transfer_syntaxes import FORMATS

# A data set in the DICOM JSON model: elements by tag, eight hexadecimal digits (PS3.18 F.2).
DicomJson = dict[str, Any]
JsonElement = dict[str, Any]
Reader = Callable[[bytes, str], list[Any] | None]

# Readers of JSON may hold numbers as doubles, which have all integers up to this one (RFC 8259 6).
MOST_INTEGER = 2**53 - 1
# As many characters cannot have more digits than a double keeps.
EXACT_CHARACTERS = 15
INTEGER = re.compile(r"[+-]?[0-9]{1,16}")
DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
TEXT_VRS = frozenset({"AS", "AE", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"}) | ONE_TEXT_VRS


def element_json(vr: str, raw: bytes, order: str, character_set: CharacterSet) -> JsonElement | None:
    """Return the element with this VR and value; None when its VR has no values in JSON, or its bytes are no values.

    `order` is struct's byte order.
    """
    if vr in TEXTS:
        return text_json(vr, read_text(raw, vr, character_set).text)
    values = NUMBERS[vr](raw, order) if vr in NUMBERS else None
    return None if values is None else _with_values(vr, values)


def text_sent_as(sent: str, vr: str, raw: bytes, order: str, character_set: CharacterSet) -> DecodedText | None:
    """Return the text of an element of a VR in TEXTS that was sent under the VR `sent`, which is empty without one.

    Numbers become their decimal texts, separated by backslashes. None where the bytes are no values of the VR sent.
    """
    if sent == "SQ":
        return None
    if sent not in NUMBERS:
        return read_text(raw, vr, character_set)
    values = NUMBERS[sent](raw, order)
    return None if values is None else DecodedText("\\".join(map(str, values)), is_exact=True)


def text_json(vr: str, text: str) -> JsonElement:
    """Return the element of a VR in TEXTS whose text was read by operators.dicom.text."""
    return _with_values(vr, TEXTS[vr](text))


def _with_values(vr: str, values: list[Any]) -> JsonElement:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def inline_binary(vr: str, raw: bytes) -> JsonElement:
    """Return a binary element that holds its value as base64 (PS3.18 F.2.7)."""
    return {"vr": vr, "InlineBinary": b64encode(raw).decode()} if raw else {"vr": vr}


def integer(text: str) -> int | str:
    """Return an integer string as a number; as it is if it is no integer, or one that a double does not hold."""
    number = int(text) if INTEGER.fullmatch(text) else None
    return text if number is None or abs(number) > MOST_INTEGER else number


def decimal(text: str) -> float | str:
    """Return a decimal string as a number; as it is if it is no decimal, or one that a double does not hold."""
    if not DECIMAL.fullmatch(text):
        return text
    number = float(text)
    if len(text) <= EXACT_CHARACTERS and "e" not in text and "E" not in text:
        return number
    return number if isfinite(number) and Decimal(repr(number)) == Decimal(text) else text


def _values(value: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Return the reader of a text's values; an empty value among several is null (PS3.18 F.2.5)."""

    def read(text: str) -> list[Any]:
        if "\\" in text:
            return [value(part) if part else None for part in text.split("\\")]
        only = value(text) if text else None
        return [] if only is None else [only]

    return read


def _numbers(letter: str) -> Reader:
    size = struct.calcsize("<" + letter)

    def read(raw: bytes, order: str) -> list[Any] | None:
        count, rest = divmod(len(raw), size)
        return None if rest else list(struct.unpack(f"{order}{count}{letter}", raw))

    return read


def _long_numbers(letter: str) -> Reader:
    read = _numbers(letter)

    def read_long(raw: bytes, order: str) -> list[Any] | None:
        found = read(raw, order)
        return found and [str(number) if abs(number) > MOST_INTEGER else number for number in found]

    return read_long


def _finite_numbers(letter: str) -> Reader:
    read = _numbers(letter)

    def read_finite(raw: bytes, order: str) -> list[Any] | None:
        found = read(raw, order)
        return found if found is None or all(map(isfinite, found)) else None

    return read_finite


def _tags(raw: bytes, order: str) -> list[Any] | None:
    found = _numbers("H")(raw, order)
    if found is None or len(found) % 2:
        return None
    return [f"{group:04X}{element:04X}" for group, element in zip(found[::2], found[1::2], strict=True)]


# The readers of values by VR: from the text of an element, and from its bytes.
TEXTS: Mapping[str, Callable[[str], list[Any]]] = {
    **dict.fromkeys(TEXT_VRS, _values(str)),
    **dict.fromkeys(ONE_TEXT_VRS, lambda text: [text] if text else []),
    "PN": _values(lambda name: {**name_groups(name)} or None),
    "DS": _values(lambda part: decimal(part.strip())),
    "IS": _values(lambda part: integer(part.strip())),
}
NUMBERS: Mapping[str, Reader] = {
    **{vr: _numbers(letter) for vr, letter in FORMATS.items()},
    "UV": _long_numbers("Q"),
    "SV": _long_numbers("q"),
    "FL": _finite_numbers("f"),
    "FD": _finite_numbers("d"),
    "AT": _tags,
}
