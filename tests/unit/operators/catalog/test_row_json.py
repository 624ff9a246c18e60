"""A row's DICOM JSON: the attributes that a query returns at each level, within a limit of size."""

from typing import Any

import orjson
import pytest

from operators.catalog.row_json import LIMIT_BYTES, row_json
from schemas.events import Facts


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


def test_attributes_over_the_limit_lose_the_largest_first() -> None:
    facts = Facts(patient_name="ä" * 256, study_description="b" * 250, referring_physician_name="c" * 256, study_id="1")
    found, warnings = row_json("study", {**vars(facts), "study_uid": "1.2"})

    assert len(orjson.dumps(found)) <= LIMIT_BYTES
    assert warnings == ("attributes-cut",)
    assert set(found) == {"00080090", "00081030", "00200010", "0020000D"}


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
