"""A row's DICOM JSON: the attributes that a query returns at each level, within a limit of size."""

from typing import Any

import orjson
import pytest

from operators.catalog.row_json import LIMIT_BYTES, row_json
from operators.dicom.attributes import FACTS, LEVELS, Level, answered_at
from schemas.events import Facts

UIDS = ("study_uid", "series_uid", "sop_uid", "sop_class")
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def test_the_attributes_of_a_row_are_dicom_json() -> None:
    facts = Facts(
        specific_character_set="ISO_IR 100",
        patient_name="Yamada^Tarou=山田^太郎",
        patient_id="",
        study_date="20260301",
        study_time="1234",
    )
    found, warnings = row_json("study", {**vars(facts), "study_uid": "1.2"})

    assert warnings == ()
    assert found == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20260301"]},
        "00080030": {"vr": "TM", "Value": ["1234"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO"},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
    }


@pytest.mark.parametrize(
    ("name", "tag", "text", "value"),
    [
        ("study_time", "00080030", "235960", "235960"),
        ("study_time", "00080030", "10", "10"),
        ("study_time", "00080030", "155431.1", "155431.1"),
        ("study_time", "00080030", "noon", "noon"),
        ("study_date", "00080020", "2026.03.01", "2026.03.01"),
        ("patient_name", "00100010", "A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
    ],
)
def test_a_value_is_answered_as_it_was_sent(name: str, tag: str, text: str, value: Any) -> None:
    found, _ = row_json("study", {**vars(Facts()), name: text, "study_uid": "1.2"})

    assert found[tag]["Value"] == (value if isinstance(value, list) else [value])


def test_a_number_that_no_column_holds_is_answered_as_it_was_sent() -> None:
    found, _ = row_json("series", {**vars(Facts(series_number="14.5")), "series_uid": "1.2"})

    assert found["00200011"] == {"vr": "IS", "Value": ["14.5"]}


# The longest values that PS3.5 6.2 allows, in characters that take most bytes.
LEGAL_NAME = "=".join(["\U00020bb7" * 64] * 3)
LEGAL = {"PN": LEGAL_NAME, "LO": "\U00020bb7" * 64, "SH": "\U00020bb7" * 16, "CS": "A" * 16, "TM": "101530.123456"}


@pytest.mark.parametrize("level", LEVELS)
def test_every_attribute_with_the_longest_legal_value_is_answered_whole(level: Level) -> None:
    facts: dict[str, Any] = {
        attribute.name: LEGAL.get(attribute.vr, "12345678") for attribute in FACTS if attribute.vr != "US"
    }
    facts |= dict.fromkeys(("scheduled_procedure_step_id", "requested_procedure_id"), "\\".join([LEGAL["SH"]] * 16))
    found, warnings = row_json(level, {**vars(Facts(**facts)), **dict.fromkeys(UIDS, "1" * 64)})

    assert warnings == ()
    assert set(found) == {attribute.path for attribute in answered_at(level) if attribute.vr != "US"}
    assert len(orjson.dumps(found)) < LIMIT_BYTES // 2 + 1024
    if level == "series":
        assert [item["00400009"]["Value"] for item in found["00400275"]["Value"]] == [[LEGAL["SH"]]] * 16
    if level == "study":
        assert found["00100010"]["Value"] == [dict.fromkeys(GROUPS, LEGAL_NAME[:64])]


@pytest.mark.parametrize("text", ["x" * 1024, "\u4e00" * 1024, "\\".join(["12345678"] * 100)])
def test_one_text_as_long_as_facts_are_is_answered_whole(text: str) -> None:
    facts = Facts(study_description=text, patient_name="A^" + "x" * 1022)
    found, warnings = row_json("study", {**vars(facts), "study_uid": "1.2"})

    assert (found["00081030"]["Value"], warnings) == (text.split("\\"), ())
    assert found["00100010"]["Value"] == [{"Alphabetic": "A^" + "x" * 1022}]


@pytest.mark.parametrize("text", ["\U00020bb7" * 1024, "\x01" * 1024, "A=B=C\\" * 170, "\\" * 1024])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_over_its_limit_has_the_beginning_of_every_attribute(level: Level, text: str) -> None:
    facts: dict[str, Any] = {attribute.name: text for attribute in FACTS if attribute.vr != "US"}
    facts |= dict.fromkeys(("scheduled_procedure_step_id", "requested_procedure_id"), "\\".join([text[:9] * 99] * 16))
    found, warnings = row_json(level, {**vars(Facts(**facts)), **dict.fromkeys(UIDS, "1" * 64)})

    assert set(found) == {attribute.path for attribute in answered_at(level) if attribute.vr != "US"}
    assert len(orjson.dumps(found)) <= LIMIT_BYTES
    if level == "study":
        assert warnings == ("attributes-cut",)
        assert found["0020000D"]["Value"] == ["1" * 64]


def requests(step_ids: str | None, procedure_ids: str | None) -> object:
    """Return the element of Request Attributes Sequence in a series' row with these facts; None without it."""
    facts = Facts(scheduled_procedure_step_id=step_ids, requested_procedure_id=procedure_ids)
    found, _ = row_json("series", {**vars(facts), "series_uid": "1.2.3"})
    return found.get("00400275")


def test_the_facts_of_a_sequences_items_become_items() -> None:
    assert requests("S1\\", "R1\\R2") == {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}},
            {"00400009": {"vr": "SH"}, "00401001": {"vr": "SH", "Value": ["R2"]}},
        ],
    }
    assert requests(None, None) is None
    assert requests("S1\0S2", None) == {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ["S1", "S2"]}, "00401001": {"vr": "SH"}}],
    }
