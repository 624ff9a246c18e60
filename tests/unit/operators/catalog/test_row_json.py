"""A row's DICOM JSON: the attributes that a query returns at each level, within a limit of size."""

import orjson

from operators.catalog.projection import storable_instance
from operators.catalog.row_json import LIMIT_BYTES, row_json
from operators.catalog.storable import storable_values
from schemas.events import Facts
from tests.support.worlds.catalog_histories import instance


def test_the_attributes_of_a_row_are_dicom_json() -> None:
    facts = Facts(
        specific_character_set="ISO_IR 100",
        patient_name="Yamada^Tarou=山田^太郎",
        patient_id="",
        study_date="20260301",
        study_time="1234",
    )
    values, _ = storable_values(facts)
    found, warnings = row_json("study", {**values, "study_uid": "1.2"})

    assert warnings == ()
    assert found == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20260301"]},
        "00080030": {"vr": "TM", "Value": ["123400"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO"},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
    }


def test_attributes_over_the_limit_lose_the_largest_first() -> None:
    facts = Facts(patient_name="ä" * 256, study_description="b" * 250, referring_physician_name="c" * 256, study_id="1")
    stored = storable_instance(instance(facts=facts))
    found, warnings = row_json("study", {**stored.values, "study_uid": "1.2"})

    assert len(orjson.dumps(found)) <= LIMIT_BYTES
    assert warnings == ("attributes-cut",)
    assert set(found) == {"00080090", "00081030", "00200010", "0020000D"}


def requests(step_ids: str | None, procedure_ids: str | None) -> object:
    """Return the element of Request Attributes Sequence in a series' row with these facts; None without it."""
    values, _ = storable_values(Facts(scheduled_procedure_step_id=step_ids, requested_procedure_id=procedure_ids))
    found, _ = row_json("series", {**values, "series_uid": "1.2.3"})
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
