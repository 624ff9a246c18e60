"""The DICOM JSON of a row (PS3.18 F.2): the attributes of a query's answer, from the facts of one instance.

Values are answered as the sender wrote them, and as metadata shows them; what queries match is in columns of its own.
It has no counts, modalities, availability and addresses: they come from other rows, and the reader adds them.
The facts are bounded already, each by itself, to many times what a legal value takes. A bound of the level keeps a
hostile header from filling the answers of queries: then every text is cut to its beginning, and none is left out.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice, zip_longest
from typing import Any

import orjson

from operators.catalog.storable import storable_text
from operators.dicom.attributes import LEVELS, Attribute, Level, answered_at, items_of
from operators.dicom.element_json import TEXTS, DicomJson, JsonElement, text_json
from operators.dicom.facts import MAX_ITEMS, MAX_TEXT_LENGTH, texts_of_items

# Legal values reach half of it: 16 items, and names of 64 kanji in each component group (PS3.5 6.2).
LIMIT_BYTES = 16 * 1024
# The lengths to which the texts of a level over its limit are cut, in characters, until they fit. The first cuts none.
TEXT_LENGTHS = (MAX_TEXT_LENGTH, 256, 64, 16)
CHARACTER_SET = "00080005"

# So few that the longest values of hostile headers do not fill the memory.
KEPT = 128

ANSWERED = {level: answered_at(level) for level in LEVELS}
# The names of the values that a level's attributes are made from.
NAMES = {
    level: tuple(
        member.name
        for attribute in ANSWERED[level]
        for member in (items_of(attribute) if attribute.vr == "SQ" else (attribute,))
    )
    for level in LEVELS
}


def row_json(level: Level, values: Mapping[str, Any]) -> tuple[DicomJson, tuple[str, ...]]:
    """Return the attributes of a level's row, and a warning code when some had to be cut.

    `values` has facts, as events carry them, and UIDs by their names; an attribute is absent if its value is None, and
    present without a value if it is an empty text. Where the level, as compact JSON, is over LIMIT_BYTES, all of its
    longest texts are cut to the same length.
    """
    for length in TEXT_LENGTHS:
        found = _attributes(level, values, length)
        if len(orjson.dumps(found)) <= LIMIT_BYTES:
            break
    return found, () if length == TEXT_LENGTHS[0] else ("attributes-cut",)


def row_warnings(level: Level, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the warnings of row_json(). They are kept, since all instances of a series have its values in common."""
    return _warnings_of(level, tuple(values[name] for name in NAMES[level]))


@lru_cache(KEPT)
def _warnings_of(level: Level, known: tuple[Any, ...]) -> tuple[str, ...]:
    return row_json(level, dict(zip(NAMES[level], known, strict=True)))[1]


def _attributes(level: Level, values: Mapping[str, Any], length: int) -> DicomJson:
    wanted = ((attribute, _value(attribute, values, length)) for attribute in ANSWERED[level])
    found = {attribute.path: element(attribute.vr, value) for attribute, value in wanted if value is not None}
    if CHARACTER_SET in found:
        # JSON is UTF-8, whatever the file was (PS3.18 F.2, CP-2518).
        found[CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def _value(attribute: Attribute, values: Mapping[str, Any], length: int) -> Any:
    if attribute.vr == "SQ":
        return _items(attribute, values, length)
    value = values[attribute.name]
    return value[:length] if isinstance(value, str) and attribute.vr != "UI" else value


def _items(sequence: Attribute, values: Mapping[str, Any], length: int) -> list[DicomJson] | None:
    """Return the items of a sequence, made from facts with a value for each item; None when all facts are absent.

    Each item's texts are cut to `length`.
    """
    members = items_of(sequence)
    if all(values[member.name] is None for member in members):
        return None
    items = zip_longest(*(texts_of_items(values[member.name] or "") for member in members), fillvalue="")
    return [
        {f"{member.tag:08X}": element(member.vr, text[:length]) for member, text in zip(members, item, strict=True)}
        for item in islice(items, MAX_ITEMS)
    ]


def element(vr: str, value: str | int | list[DicomJson]) -> JsonElement:
    """Return one element of the DICOM JSON model (PS3.18 F.2.2)."""
    if isinstance(value, str) and vr in TEXTS:
        return text_json(vr, storable_text(value))
    return {"vr": vr, "Value": value if isinstance(value, list) else [value]}
