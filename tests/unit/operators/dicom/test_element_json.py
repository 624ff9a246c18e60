"""Simple values become DICOM JSON straight from their bytes, as pydicom would say them; all others are left to pydicom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement

from operators.dicom.element_json import inline_binary, simple_element

LITTLE = "<"


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("UI", b"1.2.840\0", ["1.2.840"]),
        ("CS", b"ORIGINAL\\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("SH", b"A\\\\B", ["A", None, "B"]),
        ("LO", b"  leading spaces stay ", ["  leading spaces stay"]),
        ("AE", b" STORE ", ["STORE"]),
        ("PN", b"Doe^Jane", [{"Alphabetic": "Doe^Jane"}]),
        ("DS", b"0.5\\-1e3 ", [0.5, -1000.0]),
        ("IS", b"7\\+8 ", [7, 8]),
        ("US", b"\x01\x00\x02\x00", [1, 2]),
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf8\x3f", [1.5]),
        ("LT", b"one\\text ", ["one\\text"]),
    ],
)
def test_a_simple_value_is_read(vr: str, raw: bytes, values: list[Any]) -> None:
    assert simple_element(vr, raw, LITTLE) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["UI", "CS", "PN", "DS", "US", "LT"])
def test_an_empty_value_has_no_value_entry(vr: str) -> None:
    assert simple_element(vr, b"", LITTLE) == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "raw"),
    [
        ("LO", "Müller".encode("latin-1")),
        ("LO", b"\x1b$B"),
        ("PN", b"Yamada^Tarou=\xa4"),
        ("PN", b"Yamada^Tarou=Ideographic"),
        ("PN", b"One^Name\\Other^Name"),
        ("DS", b"1,5 "),
        ("DS", b"NaN "),
        ("IS", b"7.0 "),
        ("IS", b"12345678901234567"),
        ("US", b"\x01\x00\x02"),
        ("SQ", b"\xfe\xff\x00\xe0"),
        ("OB", b"\x00\x01"),
    ],
)
def test_a_value_with_rules_of_its_own_is_left_to_pydicom(vr: str, raw: bytes) -> None:
    assert simple_element(vr, raw, LITTLE) is None


def test_numbers_are_read_in_the_byte_order_of_the_transfer_syntax() -> None:
    assert simple_element("US", b"\x01\x02", "<") == {"vr": "US", "Value": [0x0201]}
    assert simple_element("US", b"\x01\x02", ">") == {"vr": "US", "Value": [0x0102]}


def test_a_binary_value_is_base64() -> None:
    assert inline_binary("OB", b"\x00\xff") == {"vr": "OB", "InlineBinary": "AP8="}
    assert inline_binary("OB", b"") == {"vr": "OB"}


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=64))
def test_printable_text_is_what_pydicom_says(text: str) -> None:
    oracle = DataElement(0x00080070, "LO", text).to_json_dict(None, 0)

    assert simple_element("LO", text.encode(), LITTLE) == oracle


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_integers_are_what_pydicom_says(numbers: list[int]) -> None:
    raw = "\\".join(map(str, numbers))
    oracle = DataElement(0x00200013, "IS", raw).to_json_dict(None, 0)

    assert simple_element("IS", raw.encode(), LITTLE) == oracle
