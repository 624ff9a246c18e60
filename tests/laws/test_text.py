"""One reader of text: a query answers every attribute as metadata shows it, whatever a sender wrote."""

import struct
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.catalog.row_json import ANSWERED, row_json
from operators.dicom.attributes import FACTS, LEVELS
from operators.dicom.element_json import DicomJson
from operators.dicom.instance import examine
from operators.dicom.json import dicom_json
from operators.dicom.scan import LONG_VRS
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from tests.support.data.character_sets import extended, misspelt, single
from tests.support.data.elements import item
from tests.support.data.small_instances import ELEMENTS, UIDS, data_set, short_element

TEXTS = {name: vr for name, (_, vr) in ELEMENTS.items() if vr != "US" and name != "specific_character_set"}
# As devices write them: ends of seconds, hours alone, dates of ACR-NEMA, decimals in integers, empty values.
VALUES = {
    "TM": (b"235960", b"10", b"155431.1 ", b"12:30:15", b"1", b" 10", b"10\\11 ", b"noon"),
    "DA": (b"20260230", b"2026.03.01", b"2026", b"20260301\\20260302 ", b""),
    "IS": (b"14.5", b"007 ", b" +8 ", b"99999999999999999999", b"1\\\\3", b"ABC "),
    "CS": (b"M", b" m \\F", b"\xe9", b"A\\\\B "),
    "SH": (b" a \\ b\0", b"a\0b", b"\\", b""),
    "PN": (b"A\\\\B", b"\\A", b"A\\", b"A=B=C=D ", b" A^B =x", b"^^ ", b"="),
}


def answers(whole: bytes) -> tuple[DicomJson, DicomJson]:
    """Return what the catalog's rows hold for queries, and the same attributes in metadata."""
    examined = examine(whole, EXPLICIT_VR_LITTLE_ENDIAN, 0)
    uids = {name: getattr(examined, name) for name in ("study_uid", "series_uid", "sop_uid", "sop_class")}
    made = [row_json(level, vars(examined.facts) | uids) for level in LEVELS]
    rows: DicomJson = {tag: element for row, _ in made for tag, element in row.items()}
    # The texts of a level over its limit are cut.
    is_whole = not any(warnings for _, warnings in made)
    compared = {attribute.path for level in LEVELS for attribute in ANSWERED[level]} if is_whole else rows.keys()
    shown = dicom_json(whole, 0, EXPLICIT_VR_LITTLE_ENDIAN, "")
    return rows, {tag: element for tag, element in shown.items() if tag in compared}


@pytest.mark.parametrize("seed", range(100))
def test_a_name_in_any_character_set_is_one_name(seed: int) -> None:
    random = Random(seed)
    name, description = (extended(random, "^="), extended(random, "\\")) if seed % 2 else (single(random, "^="),) * 2
    terms = random.choice((name.terms, misspelt(random, name.terms)))
    written = {"patient_name": ("PN", name.raw), "study_description": ("LO", description.raw)}
    rows, metadata = answers(data_set(specific_character_set=("CS", terms.encode()), **written))

    assert rows == metadata


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_value_as_devices_write_it_is_answered_as_metadata_shows_it(name: str) -> None:
    vr = TEXTS[name]
    for raw in (*VALUES.get(vr, ()), *VALUES["SH"], b"235960", b"14.5"):
        rows, metadata = answers(data_set(specific_character_set=("CS", b""), **{name: (vr, raw)}))

        assert rows == metadata


@pytest.mark.parametrize("sent", ["AE", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "UI"])
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_text_of_another_vr_has_the_same_form_in_queries_and_metadata(name: str, sent: str) -> None:
    for raw in (*VALUES["PN"], *VALUES["SH"], b"20260301", b"101530", b"7.0 ", b"1\\7 "):
        rows, metadata = answers(data_set(specific_character_set=("CS", b""), **{name: (sent, raw)}))

        assert rows == metadata


# As long as whole numbers of every VR; no values of most, and not finite as FL.
NUMBERS = (bytes(8), b"\0\0\x68\x41\0\0\x68\xc1", bytes(range(1, 17)), b"\1\2\3", b"\0\0\xc0\x7f\0\0\xf0\x7f")
CHARACTER_SET = ELEMENTS["specific_character_set"][0]
ANSWERED_TEXTS = [one.tag for one in FACTS if one.name in TEXTS and one.answered != "never"]


@pytest.mark.parametrize("sent", ["AT", "FD", "FL", "OB", "OF", "OW", "SL", "SQ", "SS", "SV", "UL", "UN", "US", "UV"])
def test_a_text_sent_as_numbers_or_bytes_has_the_same_form_in_queries_and_metadata(sent: str) -> None:
    for tag, raw in product(ANSWERED_TEXTS, NUMBERS):
        rows, metadata = answers(_data_set({tag: written(tag, sent, raw)}))
        assert_same(rows, metadata, f"{tag:08X}")

        assert rows == metadata


def assert_same(found: DicomJson, shown: DicomJson, path: str) -> None:
    """Take an element out of both, after the check that queries have its values, or none where metadata has bytes."""
    ours, theirs = (answer.pop(path, {}) for answer in (found, shown))
    has_values = theirs["vr"] != "SQ" and not {"BulkDataURI", "InlineBinary"} & theirs.keys()
    assert ours == theirs if has_values else "Value" not in ours


def written(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in explicit little endian, in the form that its VR has."""
    if vr not in LONG_VRS:
        return short_element(tag, vr, value)
    return struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _data_set(elements: dict[int, bytes]) -> bytes:
    """Return a data set of these elements, and the four UIDs and an empty character set."""
    usual = {tag: written(tag, "UI", uid) for tag, uid in UIDS.items()} | {
        CHARACTER_SET: written(CHARACTER_SET, "CS", b"")
    }
    return b"".join(value for _, value in sorted((usual | elements).items()))


@pytest.mark.parametrize("sent", ["FD", "LO", "OB", "SH", "SQ", "UC", "UN", "US", "UT"])
def test_values_in_the_items_of_a_sequence_are_answered_as_metadata_shows_them(sent: str) -> None:
    other = written(0x00401001, "SH", b"R1\\R2")
    for raw in (*VALUES["SH"], *NUMBERS, b"A", b"A\\B", b" A\\\\B\\"):
        step = written(0x00400009, sent, raw)
        sequence = written(0x00400275, "SQ", b"".join(map(item, (step + other, other, step))))
        rows, metadata = answers(_data_set({0x00400275: sequence}))

        for found, shown in zip(rows["00400275"]["Value"], metadata["00400275"]["Value"], strict=True):
            shown.setdefault("00400009", {"vr": "SH"})
            shown.setdefault("00401001", {"vr": "SH"})
            assert_same(found, shown, "00400009")

            assert found == shown


@given(
    st.dictionaries(st.sampled_from(sorted(TEXTS)), st.binary(max_size=40), max_size=4),
    st.sampled_from(("", "ISO_IR 100", "iso_ir_192", "GBK", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 149")),
)
def test_any_bytes_are_answered_as_metadata_shows_them(values: dict[str, bytes], terms: str) -> None:
    written: dict[str, Any] = {name: (TEXTS[name], raw) for name, raw in values.items()}
    rows, metadata = answers(data_set(specific_character_set=("CS", terms.encode()), **written))

    assert rows == metadata
