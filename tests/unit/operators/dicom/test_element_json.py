"""Simple values become the DICOM JSON that pydicom makes, directly from their bytes; others are left to pydicom."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement

from operators.dicom.element_json import FORMATS, READERS, inline_binary, simple_element

LITTLE = "<"


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("UI", b"1.2.840\0", ["1.2.840"]),
        ("CS", b"ORIGINAL\\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("SH", b"A\\\\B", ["A", None, "B"]),
        ("LO", b"  leading spaces stay ", ["  leading spaces stay"]),
        ("UI", b"1.2 \\1.3\0", ["1.2", "1.3"]),
        ("CS", b"\\", [None, None]),
        ("AE", b" STORE ", ["STORE"]),
        ("AE", b" ONE\\ \\TWO ", ["ONE", None, "TWO"]),
        ("PN", b"Doe^Jane", [{"Alphabetic": "Doe^Jane"}]),
        ("DS", b"0.5\\-1e3 ", [0.5, -1000.0]),
        ("DS", b" \\5", [None, 5.0]),
        ("IS", b"7\\+8 ", [7, 8]),
        ("IS", b"\\-7", [None, -7]),
        ("IS", b"1234567890123456", [1234567890123456]),
        ("US", b"\x01\x00\x02\x00", [1, 2]),
        ("SS", b"\xff\xff", [-1]),
        ("UL", b"\xff\xff\xff\xff", [2**32 - 1]),
        ("SL", b"\x00\x00\x00\x80", [-(2**31)]),
        ("FL", b"\x00\x00\xc0\x3f", [1.5]),
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf8\x3f", [1.5]),
        ("LT", b"one\\text ", ["one\\text"]),
    ],
)
def test_a_simple_value_is_read(vr: str, raw: bytes, values: list[Any]) -> None:
    assert simple_element(vr, raw, LITTLE) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["UI", "AE", "CS", "PN", "DS", "IS", "LT", "US", "FD"])
def test_an_empty_value_has_no_value_entry(vr: str) -> None:
    assert simple_element(vr, b"", LITTLE) == {"vr": vr}


@pytest.mark.parametrize("vr", ["AE", "CS", "PN", "DS", "IS", "LT"])
@pytest.mark.parametrize("raw", [b"  ", b"\0\0", b" \0"])
def test_a_value_of_padding_alone_counts_as_empty(vr: str, raw: bytes) -> None:
    assert simple_element(vr, raw, LITTLE) == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "raw"),
    [
        ("LO", "Müller".encode("latin-1")),
        ("LO", b"\x1b$B"),
        ("LO", b"a\x7f"),
        ("LT", b"two\r\nlines"),
        ("PN", b"Yamada^Tarou=\xa4"),
        ("PN", b"Yamada^Tarou=Ideographic"),
        ("PN", b"One^Name\\Other^Name"),
        ("DS", b"1,5 "),
        ("DS", b"NaN "),
        ("DS", b"1_0 "),
        ("DS", b"1-2 "),
        ("DS", b"."),
        ("IS", b"7.0 "),
        ("IS", b"+-7 "),
        ("IS", b"1_0 "),
        ("IS", "\u0667".encode()),
        ("IS", b"12345678901234567"),
        ("US", b"\x01\x00\x02"),
        ("FD", b"\x00" * 7),
        ("SQ", b"\xfe\xff\x00\xe0"),
        ("OB", b"\x00\x01"),
        ("AT", b"\x08\x00\x05\x00"),
        ("??", b"text"),
    ],
)
def test_a_value_with_special_rules_is_left_to_pydicom(vr: str, raw: bytes) -> None:
    assert simple_element(vr, raw, LITTLE) is None


def test_numbers_are_read_in_the_byte_order_of_the_transfer_syntax() -> None:
    assert simple_element("US", b"\x01\x02", "<") == {"vr": "US", "Value": [0x0201]}
    assert simple_element("US", b"\x01\x02", ">") == {"vr": "US", "Value": [0x0102]}


def test_a_binary_value_is_base64() -> None:
    assert inline_binary("OB", b"\x00\xff") == {"vr": "OB", "InlineBinary": "AP8="}
    assert inline_binary("OB", b"") == {"vr": "OB"}


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=64))
def test_printable_text_is_written_as_pydicom_writes_it(text: str) -> None:
    oracle = DataElement(0x00080070, "LO", text).to_json_dict(None, 0)

    assert simple_element("LO", text.encode(), LITTLE) == oracle


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_integers_are_written_as_pydicom_writes_them(numbers: list[int]) -> None:
    raw = "\\".join(map(str, numbers))
    oracle = DataElement(0x00200013, "IS", raw).to_json_dict(None, 0)

    assert simple_element("IS", raw.encode(), LITTLE) == oracle


@pytest.mark.parametrize(("vr", "letter"), sorted(FORMATS.items()))
@given(data=st.data(), order=st.sampled_from("<>"))
def test_binary_numbers_of_any_bytes_are_written_back_as_they_were(
    vr: str, letter: str, order: str, data: st.DataObject
) -> None:
    size = struct.calcsize(order + letter)
    raw = data.draw(st.integers(1, 4).flatmap(lambda count: st.binary(min_size=count * size, max_size=count * size)))
    values = (simple_element(vr, raw, order) or {})["Value"]
    again = simple_element(vr, struct.pack(f"{order}{len(values)}{letter}", *values), order)

    assert len(values) == len(raw) // size
    assert repr(again) == repr({"vr": vr, "Value": values})


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=40), st.sampled_from("<>"))
def test_any_bytes_of_any_vr_give_an_element_or_are_left_to_pydicom(vr: str, raw: bytes, order: str) -> None:
    found = simple_element(vr, raw, order)

    assert found is None or found["vr"] == vr
