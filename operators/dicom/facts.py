"""The facts that a header holds about patient, study, series and image: texts decoded and bounded, numbers read."""

import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from operators.dicom.attributes import FACTS, SEQUENCES, items_of
from operators.dicom.element_json import text_sent_as
from operators.dicom.reasons import Oddity
from operators.dicom.scan import MAX_SEQUENCE_BYTES, Header, ValueSpan, scanning_items
from operators.dicom.text import (
    DEFAULT_REPERTOIRE,
    PADDING,
    TRAILING_PADDING_VRS,
    CharacterSet,
    DecodedText,
    character_set_of,
)
from operators.dicom.transfer_syntaxes import FORMATS, VALUE_BYTES
from operators.pieces import Pieces, finished
from schemas.events import Facts

MAX_TEXT_LENGTH = 1024
MAX_TEXT_BYTES = 16 * MAX_TEXT_LENGTH
MAX_NUMBER_BYTES = 128
MAX_INT = (1 << 31) - 1
MAX_ITEMS = 16
# The instances of a study share most of their texts, so texts and short sequences that were read lately are kept.
TEXTS_KEPT = 1_024
SEQUENCES_KEPT = 64
MAX_KEPT_SEQUENCE_BYTES = 2_048
# The header of an element, which reading a sequence may look for behind its last byte.
HEADER_BYTES = 12
# What separates the values of one item where a backslash separates items. No text has NUL (operators.dicom.text).
VALUES_IN_ITEM = "\0"

# Name, tag and VR of every fact at the top level of a data set: plain tuples, for the loop over them is a hot path.
SPECIFIC_CHARACTER_SET, *TOP_LEVEL = (
    (attribute.name, attribute.tag, attribute.vr) for attribute in FACTS if not attribute.sequence
)
# The tags that the scan must look for.
WANTED = frozenset(attribute.tag for attribute in (*FACTS, *SEQUENCES) if not attribute.sequence)

# The letters of struct for the VRs that hold one binary number.
NUMBER_VRS = {vr: FORMATS[vr] for vr in ("US", "UL", "SS", "SL")}
DIGITS = re.compile("[+]?[0-9]{1,9}")


def reading_facts(header: Header) -> Pieces[tuple[Facts, set[Oddity]]]:
    """Return the facts, and the oddities of their values, in pieces: one long text may take 10 ms to decode.

    The hot path: nearly every value is short printable ASCII under the VR that the standard gives it.
    """
    reader = _Reader(header)
    data, values, found = header.data, header.values, reader.found
    has_ascii = reader.character_set.has_ascii
    for name, tag, vr in TOP_LEVEL:
        value = values.get(tag)
        if value is None:
            continue
        if vr == "US":
            found[name] = reader.number(value)
            continue
        found_vr, start, length = value
        is_usual = has_ascii and length <= MAX_TEXT_LENGTH and (found_vr == vr or not found_vr)
        text = _printable(bytes(data[start : start + length]), vr) if is_usual else None
        found[name] = reader.text(value, vr) if text is None else text
        if length > MAX_TEXT_LENGTH:
            yield
    for sequence in SEQUENCES:
        if sequence.tag in values:
            items = reader.kept_items(sequence.path)
            found |= (yield from reader.items(sequence.path)) if items is None else items
    if not reader.character_set.is_known:
        reader.oddities.add(Oddity.UNKNOWN_CHARACTER_SET)
    return Facts(**found), reader.oddities


class _Reader:
    """Reads the facts of one data set; `found` has the facts read so far, Specific Character Set first."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.found: dict[str, Any] = {}
        self.oddities: set[Oddity] = set()
        name, tag, vr = SPECIFIC_CHARACTER_SET
        self.character_set = DEFAULT_REPERTOIRE
        if tag in header.values:
            self.found[name] = self.text(header.values[tag], vr)
            self.character_set = character_set_of(self.found[name])

    def number(self, value: ValueSpan) -> int | None:
        """Read a number that should have VR US: the first of several values, None for an empty one.

        None, and an oddity, if the value is no number from 0 to 2**31 - 1.
        """
        found_vr, start, length = value
        if not length:
            return None
        raw = bytes(self.header.data[start : start + min(length, MAX_NUMBER_BYTES)])
        if found_vr == "US" and length == VALUE_BYTES["US"]:
            return int.from_bytes(raw, "big" if self.header.order == ">" else "little")
        if found_vr not in {"US", ""}:
            self.oddities.add(Oddity.UNEXPECTED_VR)
        letter = NUMBER_VRS.get(found_vr or "US")
        number = _parsed(raw, letter, self.header.order)
        if number is None:
            self.oddities.add(Oddity.UNREADABLE_NUMBER)
        elif letter and length != VALUE_BYTES[found_vr or "US"]:
            self.oddities.add(Oddity.NUMBER_LENGTH)
        return number

    def text(self, value: ValueSpan, vr: str) -> str:
        """Read any text, and cut it to MAX_TEXT_LENGTH."""
        found_vr, start, length = value
        raw = bytes(self.header.data[start : start + min(length, MAX_TEXT_BYTES)])
        if found_vr not in {vr, ""}:
            self.oddities.add(Oddity.UNEXPECTED_VR)
        read = _kept_text if length <= MAX_TEXT_LENGTH else text_sent_as
        found = read(found_vr, vr, raw, self.header.order, self.character_set)
        if found is None:
            self.oddities.add(Oddity.UNREADABLE_NUMBER)
            return ""
        text, is_exact = found
        if not is_exact:
            self.oddities.add(Oddity.UNDECODABLE_TEXT)
        if len(text) > MAX_TEXT_LENGTH or length > MAX_TEXT_BYTES:
            self.oddities.add(Oddity.LONG_VALUE)
        return text[:MAX_TEXT_LENGTH]

    def kept_items(self, sequence: str) -> dict[str, str] | None:
        """Return what items() returns for a short sequence, read once; None for a sequence that is not short."""
        vr, start, length = self.header.values[int(sequence, 16)]
        if length > MAX_KEPT_SEQUENCE_BYTES:
            return None
        data = bytes(self.header.data[start : start + length + HEADER_BYTES])
        found, oddities = _kept_items(sequence, data, (vr, length), self.header.order, self.character_set)
        self.oddities |= oddities
        return found

    def items(self, sequence: str) -> Pieces[dict[str, str]]:
        """Read the facts in the items of a sequence: one value for each item, joined."""
        members, tag = ITEMS[sequence], int(sequence, 16)
        wanted = frozenset(tag for _, tag, _ in (SPECIFIC_CHARACTER_SET, *members))
        found = yield from scanning_items(self.header, tag, wanted)
        if any(found[MAX_ITEMS:]) or self.header.values[tag][2] > MAX_SEQUENCE_BYTES:
            self.oddities.add(Oddity.LONG_VALUE)
        items = [self._item(item, members) for item in found[:MAX_ITEMS]]
        texts = {name: [item[name] for item in items] for name, _, _ in members}
        return {name: joined_items(found) for name, found in texts.items() if any(found)}

    def _item(self, item: dict[int, ValueSpan], members: tuple[tuple[str, int, str], ...]) -> dict[str, str]:
        """Read the facts in an item, which may have its own character set (PS3.3 C.12.1.1.2)."""
        outer, (_, tag, vr) = self.character_set, SPECIFIC_CHARACTER_SET
        if tag in item:
            self.character_set = character_set_of(self.text(item[tag], vr))
        texts = {name: self.text(item[tag], vr) if tag in item else "" for name, tag, vr in members}
        self.character_set = outer
        return texts


def joined_items(texts: Iterable[str]) -> str:
    """Return the fact of the texts of a sequence's items, in their order."""
    return "\\".join(text.replace("\\", VALUES_IN_ITEM) for text in texts)


def texts_of_items(fact: str) -> list[str]:
    """Return the texts that joined_items() joined, several values of an item separated by backslashes again."""
    return [text.replace(VALUES_IN_ITEM, "\\") for text in fact.split("\\")]


@lru_cache(TEXTS_KEPT)
def _kept_text(sent: str, vr: str, raw: bytes, order: str, character_set: CharacterSet) -> DecodedText | None:
    return text_sent_as(sent, vr, raw, order, character_set)


@lru_cache(SEQUENCES_KEPT)
def _kept_items(
    sequence: str, data: bytes, form: tuple[str, int], order: str, character_set: CharacterSet
) -> tuple[dict[str, str], frozenset[Oddity]]:
    """Return the facts in the items of a sequence at the beginning of `data`, of this VR and length, and their oddities."""
    vr, length = form
    header = Header(data, len(data), {int(sequence, 16): (vr, 0, length)}, None, order, False, frozenset())
    reader = _Reader(header)
    reader.character_set = character_set
    return finished(reader.items(sequence)), frozenset(reader.oddities)


@lru_cache(TEXTS_KEPT)
def _printable(raw: bytes, vr: str) -> str | None:
    """Read a single value of printable ASCII; None for any other value, such as escape sequences."""
    try:
        text = str(raw, "ascii").rstrip(PADDING)
    except UnicodeDecodeError:
        return None
    if not text.isprintable() or "\\" in text:
        return None
    return text if vr in TRAILING_PADDING_VRS else text.lstrip(PADDING)


def _parsed(raw: bytes, letter: str | None, order: str) -> int | None:
    """Read a binary number of this struct letter, or digits if it is None; None unless from 0 to 2**31 - 1."""
    number = -1
    text = raw.decode("latin-1").strip(PADDING)
    if letter and len(raw) >= struct.calcsize(order + letter):
        number = struct.unpack_from(order + letter, raw)[0]
    elif letter is None and DIGITS.fullmatch(text):
        number = int(text)
    return number if 0 <= number <= MAX_INT else None


# Name, tag and VR of the facts in each sequence's items, by the sequence's path.
ITEMS = {
    sequence.path: tuple((attribute.name, attribute.tag, attribute.vr) for attribute in items_of(sequence))
    for sequence in SEQUENCES
}
