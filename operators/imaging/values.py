"""Values of an untrusted data set: a value that cannot be read counts as absent.

Numbers are read from the bytes as they were sent, because pydicom reads none of several when one of them is no number.
"""

import math
import re
import struct
from functools import cache
from typing import NamedTuple

from pydicom import Dataset, Sequence
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from operators.dicom.transfer_syntaxes import FORMATS, VALUE_BYTES

TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"})
# PS3.5 table 6.2-1 (DS). A comma is taken for the point: writers in some languages use it.
DECIMAL = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
PADDING = " \0"


class RawValue(NamedTuple):
    """A value as it was sent: its VR, both VRs where the data set leaves it open (`US or SS`), and its byte order."""

    vr: str
    value: bytes
    order: str


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@cache
def _usual_vr(keyword: str) -> str:
    return str(dictionary_VR(_tag(keyword)))


def raw_of(data_set: Dataset, keyword: str) -> RawValue | None:
    """Return an element's value as it was sent; None when it is absent or empty, or a sequence."""
    element = data_set.get_item(_tag(keyword))
    if not isinstance(element, RawDataElement) or not element.value:
        return None
    if element.VR in (None, "UN"):
        order = "<" if element.VR == "UN" or element.is_little_endian else ">"
        return RawValue(_usual_vr(keyword), bytes(element.value), order)
    return RawValue(str(element.VR), bytes(element.value), "<" if element.is_little_endian else ">")


def items_of(data_set: Dataset, keyword: str) -> list[Dataset]:
    """Return a sequence's items; an empty list when the element is absent, unreadable or no sequence."""
    try:
        value = data_set[keyword].value if keyword in data_set else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values
        return []
    return list(value) if isinstance(value, Sequence) else []


def numbers_of(data_set: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers, NaN for each that cannot be read or is not finite; none if it has no numbers."""
    raw = raw_of(data_set, keyword)
    if raw is None:
        return []
    # A VR that the data set leaves open (US or SS) is read as the first.
    vr = raw.vr[:2]
    if letter := FORMATS.get(vr):
        count, rest = divmod(len(raw.value), VALUE_BYTES[vr])
        found = [] if rest else [float(number) for number in struct.unpack(f"{raw.order}{count}{letter}", raw.value)]
        return [number if math.isfinite(number) else math.nan for number in found]
    if vr not in TEXT_VRS:
        return []
    return [_decimal(text.strip(PADDING)) for text in raw.value.decode("latin-1").split("\\")]


def _decimal(text: str) -> float:
    """Return the number that a text writes; NaN for any other text, for NaN and for infinity."""
    number = float(text.replace(",", ".")) if DECIMAL.fullmatch(text) else math.nan
    return number if math.isfinite(number) else math.nan


def number_of(data_set: Dataset, keyword: str, default: float) -> float:
    """Return an element's first number; `default` without one, and when it cannot be read."""
    first = next(iter(numbers_of(data_set, keyword)), math.nan)
    return default if math.isnan(first) else first


def integer_of(data_set: Dataset, keyword: str, default: int) -> int:
    """Return an element's first number as an integer; `default` without one."""
    return int(number_of(data_set, keyword, default))


def text_of(data_set: Dataset, keyword: str, default: str) -> str:
    """Return an element's text in capitals, without spaces around it; `default` if it has none or several values."""
    raw = raw_of(data_set, keyword)
    if raw is None or raw.vr not in TEXT_VRS or b"\\" in raw.value:
        return default
    return raw.value.decode("latin-1").strip(PADDING).upper() or default
