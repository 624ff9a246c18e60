"""The response to a store request names what became of each part, in JSON and in XML alike."""

from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.intake.status import (
    BROKEN_OFF,
    CANNOT_UNDERSTAND,
    FAILED,
    OTHER_STUDY,
    OUT_OF_RESOURCES,
    PART_TYPE,
    STORED,
    STORED_ODD,
    TOO_LARGE,
    Status,
    of_rejected,
    of_stored,
)
from gateway.stow.delivery import PartResult
from gateway.stow.response import KEYWORDS, MEDIA_TYPES, Json, encode, http_status, response_module
from operators.errors import Rejected

CT = "1.2.840.10008.5.1.4.1.1.2"
BASE = "http://localhost:8060/dicomweb"
SPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
COMMENT = "00000902"
SOP_CLASS, SOP_UID, URL, WARNING, FAILURE = "00081150", "00081155", "00081190", "00081196", "00081197"
REFUSED, REFERENCED, OTHER_FAILURES = "00081198", "00081199", "0008119A"


def stored(number: int = 1, study: str = "1.2.3", status: Status = STORED) -> PartResult:
    return PartResult(status, CT, f"{study}.1.{number}", study, f"{study}.1")


def refused(status: Status, sop_class: str = CT, sop_uid: str = "1.2.3.1.9") -> PartResult:
    return PartResult(status, sop_class, sop_uid)


def module_of(*results: PartResult, broken_off: Status | None = None) -> Json:
    return response_module(iter(results), broken_off, BASE)


def values(module: Json, sequence: str, tag: str) -> list[Any]:
    """Return an attribute's value in each item of a sequence; None in an item that lacks the attribute."""
    items = module.get(sequence, {"Value": []})["Value"]
    return [item[tag]["Value"][0] if tag in item else None for item in items]


ODD = stored(2, status=STORED_ODD)
STATUSES: dict[str, tuple[list[PartResult], Status | None, int]] = {
    "all stored": ([stored(), stored(2)], None, 200),
    "two studies": ([stored(), stored(study="1.2.4")], None, 200),
    "a warning": ([stored(), ODD], None, 202),
    "only warnings": ([ODD], None, 202),
    "some refused": ([stored(), refused(CANNOT_UNDERSTAND)], None, 202),
    "some unavailable": ([stored(), refused(OUT_OF_RESOURCES)], None, 202),
    "some failed": ([stored(), refused(FAILED)], None, 202),
    "stored and broken off": ([stored()], BROKEN_OFF, 202),
    "none stored": ([refused(CANNOT_UNDERSTAND), refused(TOO_LARGE)], None, 409),
    "another study": ([refused(OTHER_STUDY)], None, 409),
    "broken off": ([], BROKEN_OFF, 409),
    "refused and broken off": ([refused(PART_TYPE)], BROKEN_OFF, 409),
    "unavailable": ([refused(OUT_OF_RESOURCES)], None, 503),
    "refused and unavailable": ([refused(PART_TYPE), refused(OUT_OF_RESOURCES)], None, 503),
    "unavailable and broken off": ([refused(OUT_OF_RESOURCES)], BROKEN_OFF, 503),
    "failed": ([refused(FAILED)], None, 500),
    "refused and failed": ([refused(CANNOT_UNDERSTAND), refused(FAILED)], None, 500),
    "failed and unavailable": ([refused(FAILED), refused(OUT_OF_RESOURCES)], None, 503),
}


@pytest.mark.parametrize(("results", "broken_off", "code"), STATUSES.values(), ids=STATUSES)
def test_the_http_status_follows_the_results_of_the_parts(
    results: list[PartResult], broken_off: Status | None, code: int
) -> None:
    assert http_status(results, broken_off) == code


def test_stored_parts_are_named_with_their_addresses_in_the_order_of_the_request() -> None:
    module = module_of(stored(2), stored(1))

    assert module == {
        URL: {"vr": "UR", "Value": [f"{BASE}/studies/1.2.3"]},
        REFERENCED: {
            "vr": "SQ",
            "Value": [
                {
                    SOP_CLASS: {"vr": "UI", "Value": [CT]},
                    SOP_UID: {"vr": "UI", "Value": [f"1.2.3.1.{number}"]},
                    URL: {"vr": "UR", "Value": [f"{BASE}/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.{number}"]},
                }
                for number in (2, 1)
            ],
        },
    }


def test_a_stored_part_with_a_warning_has_its_reason() -> None:
    assert values(module_of(stored(), ODD), REFERENCED, WARNING) == [None, 0xB007]


@pytest.mark.parametrize(
    ("results", "address"),
    [
        ([stored(1), stored(2)], [f"{BASE}/studies/1.2.3"]),
        ([stored(), refused(FAILED)], [f"{BASE}/studies/1.2.3"]),
        ([stored(), stored(study="1.2.4")], None),
        ([refused(FAILED)], None),
        ([], None),
    ],
    ids=["one study", "some failed", "two studies", "none stored", "no parts"],
)
def test_the_response_has_the_address_of_the_study_if_all_that_is_stored_is_of_one(
    results: list[PartResult], address: list[str] | None
) -> None:
    assert module_of(*results)[URL] == {"vr": "UR"} | ({"Value": address} if address else {})


def test_a_refused_part_is_named_if_its_class_and_its_uid_are_known() -> None:
    module = module_of(
        refused(TOO_LARGE),
        stored(),
        refused(PART_TYPE, "", ""),
        refused(CANNOT_UNDERSTAND, CT, ""),
        refused(FAILED, "", "1.2.3.1.9"),
    )

    assert values(module, REFUSED, SOP_UID) == ["1.2.3.1.9"]
    assert values(module, REFUSED, FAILURE) == [0xC001]
    assert values(module, OTHER_FAILURES, FAILURE) == [0xC002, 0xC000, 0x0110]
    assert values(module, OTHER_FAILURES, SOP_UID) == [None, None, None]
    assert values(module, REFERENCED, FAILURE) == [None]


def test_each_failure_and_each_warning_says_why_in_words() -> None:
    unreadable = of_rejected(Rejected("bad-sequence"))
    module = module_of(
        stored(),
        stored(2, status=of_stored(["odd-length"])),
        refused(unreadable),
        refused(PART_TYPE, "", ""),
        broken_off=BROKEN_OFF,
    )

    assert values(module, REFERENCED, COMMENT) == [None, "stored, but: odd-length"]
    assert values(module, REFUSED, COMMENT) == ["quarantined: a sequence is malformed"]
    assert values(module, OTHER_FAILURES, COMMENT) == [PART_TYPE.comment, BROKEN_OFF.comment]
    assert all(values(module, OTHER_FAILURES, COMMENT))


def test_the_place_where_a_request_broke_off_is_the_last_of_the_failures_without_a_name() -> None:
    module = module_of(stored(), refused(PART_TYPE, "", ""), broken_off=BROKEN_OFF)

    assert values(module, OTHER_FAILURES, FAILURE) == [0xC002, 0xC004]


def test_sequences_without_items_are_left_out() -> None:
    assert set(module_of()) == {URL}
    assert set(module_of(stored())) == {URL, REFERENCED}
    assert set(module_of(refused(FAILED))) == {URL, REFUSED}


FULL = module_of(
    stored(), ODD, stored(study="1.2.4"), refused(TOO_LARGE), refused(PART_TYPE, "", ""), broken_off=BROKEN_OFF
)


def test_the_response_is_a_dicom_data_set() -> None:
    found = Dataset.from_json(FULL)

    assert not found.RetrieveURL
    assert [item.ReferencedSOPInstanceUID for item in found.ReferencedSOPSequence] == [
        "1.2.3.1.1",
        "1.2.3.1.2",
        "1.2.4.1.1",
    ]
    assert found.ReferencedSOPSequence[0].ReferencedSOPClassUID == CT
    assert [item.FailureReason for item in found.OtherFailuresSequence] == [0xC002, 0xC004]


def elements(module: Json) -> dict[str, str]:
    """Return the VR of each tag of a data set and of its items."""
    found = {tag: element["vr"] for tag, element in module.items()}
    for element in module.values():
        for item in element.get("Value", ()) if element["vr"] == "SQ" else ():
            found |= elements(item)
    return found


def test_tags_keywords_and_vrs_are_those_of_the_standard() -> None:
    assert elements(FULL) == {tag: dictionary_VR(tag) for tag in KEYWORDS}
    assert {tag: keyword_for_tag(tag) for tag in KEYWORDS} == KEYWORDS


# How the text of a value is read, where it is not text.
READ = {"US": int}


def read_xml(parent: ET.Element) -> Json:
    """Read a data set in the Native DICOM Model back into DICOM JSON."""
    found: Json = {}
    for attribute in parent:
        assert attribute.tag == f"{SPACE}DicomAttribute"
        assert attribute.get("keyword") == keyword_for_tag(attribute.attrib["tag"])
        vr = attribute.attrib["vr"]
        items = [read_xml(value) if vr == "SQ" else READ.get(vr, str)(value.text or "") for value in attribute]
        assert {value.tag for value in attribute} <= {f"{SPACE}{'Item' if vr == 'SQ' else 'Value'}"}
        assert [value.get("number") for value in attribute] == [str(number + 1) for number in range(len(items))]
        found[attribute.attrib["tag"]] = {"vr": vr} | ({"Value": items} if items else {})
    return found


@pytest.mark.parametrize("module", [FULL, module_of(stored()), module_of()], ids=["full", "one", "empty"])
def test_xml_has_the_content_of_the_json(module: Json) -> None:
    root = ET.fromstring(encode(module, "application/dicom+xml"))  # noqa: S314 - our own

    assert root.tag == f"{SPACE}NativeDicomModel"
    assert read_xml(root) == module


def test_the_attributes_in_xml_are_in_the_order_of_their_tags() -> None:
    root = ET.fromstring(encode(FULL, "application/dicom+xml"))  # noqa: S314 - our own

    assert [element.get("keyword") for element in root] == [
        "RetrieveURL",
        "FailedSOPSequence",
        "ReferencedSOPSequence",
        "OtherFailuresSequence",
    ]


@pytest.mark.parametrize("text", ["<&>\"'", "]]>", "\u00e9"])
def test_a_value_that_looks_like_markup_stays_a_value(text: str) -> None:
    module = response_module([stored()], None, f"http://{text}")
    root = ET.fromstring(encode(module, "text/xml"))  # noqa: S314 - our own

    assert read_xml(root) == module


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_each_media_type_is_json_or_xml_as_its_name_says(media_type: str) -> None:
    assert encode(module_of(), media_type).startswith(b'{"' if "json" in media_type else b"<?xml")


def test_json_is_the_module_itself() -> None:
    assert orjson.loads(encode(FULL, "application/json")) == FULL
