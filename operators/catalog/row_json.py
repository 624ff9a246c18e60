"""The DICOM JSON of a row (PS3.18 F.2): the attributes of a query's answer, from the facts of one instance.

Values are answered as the sender wrote them, and as metadata shows them; what queries match is in columns of its own.
It has no counts, modalities, availability and addresses: they come from other rows, and the reader adds them.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import orjson

from operators.catalog.storable import storable_text
from operators.dicom.attributes import LEVELS, Attribute, Level, answered_at, items_of
from operators.dicom.element_json import TEXTS, DicomJson, JsonElement, text_json

LIMIT_BYTES = 1024
CHARACTER_SET = "00080005"

ANSWERED = {level: answered_at(level) for level in LEVELS}


def row_json(level: Level, values: Mapping[str, Any]) -> tuple[DicomJson, tuple[str, ...]]:
    """Return the attributes of a level's row, and a warning code when some had to be left out.

    `values` has facts, as events carry them, and UIDs by their names; an attribute is absent if its value is None, and
    present without a value if it is an empty text. The largest attributes are left out until the rest, as compact JSON, fits LIMIT_BYTES.
    """
    wanted = (
        (attribute, _items(attribute, values) if attribute.vr == "SQ" else values[attribute.name])
        for attribute in ANSWERED[level]
    )
    found = {attribute.path: element(attribute.vr, value) for attribute, value in wanted if value is not None}
    if CHARACTER_SET in found:
        # JSON is UTF-8, whatever the file was (PS3.18 F.2, CP-2518).
        found[CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if len(orjson.dumps(found)) <= LIMIT_BYTES:
        return found, ()
    return _without_largest(found), ("attributes-cut",)


def _items(sequence: Attribute, values: Mapping[str, Any]) -> list[DicomJson] | None:
    """Return the items of a sequence, made from facts with a value for each item; None when all facts are absent."""
    members = items_of(sequence)
    if all(values[member.name] is None for member in members):
        return None
    items = zip_longest(*((values[member.name] or "").split("\\") for member in members), fillvalue="")
    return [
        {f"{member.tag:08X}": element(member.vr, text) for member, text in zip(members, item, strict=True)}
        for item in items
    ]


def element(vr: str, value: str | int | list[DicomJson]) -> JsonElement:
    """Return one element of the DICOM JSON model (PS3.18 F.2.2)."""
    if isinstance(value, str) and vr in TEXTS:
        return text_json(vr, storable_text(value))
    return {"vr": vr, "Value": value if isinstance(value, list) else [value]}


def _without_largest(found: DicomJson) -> DicomJson:
    largest_last = sorted(found, key=lambda tag: (len(orjson.dumps(found[tag])), tag))
    while len(orjson.dumps(found)) > LIMIT_BYTES:
        left_out = largest_last.pop()
        found = {tag: kept for tag, kept in found.items() if tag != left_out}
    return found
