"""A row's DICOM JSON (PS3.18 F.2): what a query answers at its level unasked, as far as an instance says it.

Counts, modalities, availability and addresses are no instance's to say: the reader adds them.
"""

from collections.abc import Mapping
from datetime import date, time
from itertools import zip_longest
from typing import Any

import orjson

from operators.dicom.element_json import DicomJson

LIMIT_BYTES = 1024

Element = tuple[str, str, str]

# Tag, VR, and the name of the value. PS3.18 tables 10.6.3-3, -4 and -5, and what viewers ask for besides.
ALWAYS: tuple[Element, ...] = (
    ("00080005", "CS", "specific_character_set"),
    ("00080201", "SH", "timezone_offset_from_utc"),
)
STUDY: tuple[Element, ...] = (
    *ALWAYS,
    ("00080020", "DA", "study_date"),
    ("00080030", "TM", "study_time"),
    ("00080050", "SH", "accession_number"),
    ("00080090", "PN", "referring_physician_name"),
    ("00081030", "LO", "study_description"),
    ("00100010", "PN", "patient_name"),
    ("00100020", "LO", "patient_id"),
    ("00100021", "LO", "issuer_of_patient_id"),
    ("00100030", "DA", "patient_birth_date"),
    ("00100040", "CS", "patient_sex"),
    ("0020000D", "UI", "study_uid"),
    ("00200010", "SH", "study_id"),
)
SERIES: tuple[Element, ...] = (
    *ALWAYS,
    ("00080060", "CS", "modality"),
    ("0008103E", "LO", "series_description"),
    ("00180015", "CS", "body_part_examined"),
    ("0020000E", "UI", "series_uid"),
    ("00200011", "IS", "series_number"),
    ("00400244", "DA", "performed_procedure_step_start_date"),
    ("00400245", "TM", "performed_procedure_step_start_time"),
    ("00400275", "SQ", "requests"),
)
INSTANCE: tuple[Element, ...] = (
    *ALWAYS,
    ("00080016", "UI", "sop_class"),
    ("00080018", "UI", "sop_uid"),
    ("00200013", "IS", "instance_number"),
    ("00280008", "IS", "number_of_frames"),
    ("00280010", "US", "rows"),
    ("00280011", "US", "columns"),
    ("00280100", "US", "bits_allocated"),
)


def attributes(level: tuple[Element, ...], values: Mapping[str, Any]) -> tuple[DicomJson, tuple[str, ...]]:
    """Return a level's elements that have a value or are empty, and a warning code when some had to be left out.

    The largest go first until the rest, as compact JSON, is at most LIMIT_BYTES.
    """
    found = {tag: element(vr, values[name]) for tag, vr, name in level if values[name] is not None}
    if "00080005" in found:
        # JSON is UTF-8, whatever the file was (PS3.18 F.2, CP-2518).
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    if len(orjson.dumps(found)) <= LIMIT_BYTES:
        return found, ()
    return _bounded(found), ("attributes-cut",)


def requests(step_ids: str | None, procedure_ids: str | None) -> list[DicomJson] | None:
    """Return the items of Request Attributes Sequence from its values, one of each for an item; None without any."""
    if step_ids is None and procedure_ids is None:
        return None
    pairs = zip_longest((step_ids or "").split("\\"), (procedure_ids or "").split("\\"), fillvalue="")
    return [{"00400009": element("SH", step), "00401001": element("SH", procedure)} for step, procedure in pairs]


def element(vr: str, value: str | int | date | time | list[DicomJson]) -> dict[str, Any]:
    """Return one element of the DICOM JSON model (PS3.18 F.2.2)."""
    if value == "":
        return {"vr": vr}
    return {"vr": vr, "Value": VALUES.get(vr, _texts)(value)}


def _bounded(found: DicomJson) -> DicomJson:
    largest_last = sorted(found, key=lambda tag: (len(orjson.dumps(found[tag])), tag))
    while len(orjson.dumps(found)) > LIMIT_BYTES:
        gone = largest_last.pop()
        found = {tag: one for tag, one in found.items() if tag != gone}
    return found


def _texts(text: str) -> list[str | None]:
    return [part or None for part in text.split("\\")]


def _name(text: str) -> list[dict[str, str]]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return [{group: name for group, name in groups if name}]


def _date(value: date) -> list[str]:
    return [value.isoformat().replace("-", "")]


def _time(value: time) -> list[str]:
    return [value.isoformat().replace(":", "")]


def _as_it_is(value: Any) -> Any:
    return value


VALUES: dict[str, Any] = {
    "SQ": _as_it_is,
    "PN": _name,
    "DA": _date,
    "TM": _time,
    "IS": lambda number: [number],
    "US": lambda number: [number],
}
