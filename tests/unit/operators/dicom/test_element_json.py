"""DICOM JSON of single elements: no value is left out, and none becomes another (PS3.18 F.2)."""

import json
import math
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement

from operators.dicom.element_json import NUMBERS, TEXTS, element_json, inline_binary
from operators.dicom.part10 import part10_prefix
from operators.dicom.text import DEFAULT_REPERTOIRE, character_set_of
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, FORMATS
from tests.support.data.small_instances import short_element
from tests.support.machine.debian_tools import Programs

LATIN_1 = character_set_of("ISO_IR 100")


def of(vr: str, raw: bytes, order: str = "<") -> dict[str, Any] | None:
    return element_json(vr, raw, order, LATIN_1)


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("UI", b"1.2.840\0", ["1.2.840"]),
        ("CS", b"ORIGINAL\\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("SH", b"A\\\\B", ["A", None, "B"]),
        ("LO", b"  spaces around ", ["spaces around"]),
        ("LO", b"M\xfcller", ["Müller"]),
        ("UI", b"1.2 \\1.3\0", ["1.2", "1.3"]),
        ("CS", b"\\", [None, None]),
        ("AE", b" STORE ", ["STORE"]),
        ("AE", b" ONE\\ \\TWO ", ["ONE", None, "TWO"]),
        ("TM", b"235960", ["235960"]),
        ("PN", b"Doe^Jane", [{"Alphabetic": "Doe^Jane"}]),
        ("PN", b"A^B\\\\C^D", [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C^D"}]),
        ("PN", b"A\\", [{"Alphabetic": "A"}, None]),
        ("PN", b"\\A", [None, {"Alphabetic": "A"}]),
        ("PN", b"\\", [None, None]),
        ("PN", b"A=B", [{"Alphabetic": "A", "Ideographic": "B"}]),
        ("DS", b"0.5\\-1e3 ", [0.5, -1000.0]),
        ("DS", b" \\5", [None, 5.0]),
        ("DS", b"1,5 ", ["1,5"]),
        ("DS", b"1\\1,5\\3", [1.0, "1,5", 3.0]),
        ("DS", b"NaN ", ["NaN"]),
        ("DS", b"1_0 ", ["1_0"]),
        ("DS", b".", ["."]),
        ("DS", b"1e400", ["1e400"]),
        ("DS", b"1e-400", ["1e-400"]),
        ("DS", b"3.14159265358979323846", ["3.14159265358979323846"]),
        ("DS", b"9007199254740993", ["9007199254740993"]),
        ("IS", b"7\\+8 ", [7, 8]),
        ("IS", b"\\-7", [None, -7]),
        ("IS", b"007 ", [7]),
        ("IS", b"14.5", ["14.5"]),
        ("IS", b"7.0 ", ["7.0"]),
        ("IS", b"1\\2.5\\3 ", [1, "2.5", 3]),
        ("IS", b"+-7 ", ["+-7"]),
        ("IS", b"ABC ", ["ABC"]),
        ("IS", b"9007199254740991", [2**53 - 1]),
        ("IS", b"9007199254740993", ["9007199254740993"]),
        ("IS", b"12345678901234567", ["12345678901234567"]),
        ("US", b"\x01\x00\x02\x00", [1, 2]),
        ("SS", b"\xff\xff", [-1]),
        ("UL", b"\xff\xff\xff\xff", [2**32 - 1]),
        ("SL", b"\x00\x00\x00\x80", [-(2**31)]),
        ("UV", struct.pack("<QQ", 2**53 - 1, 2**53), [2**53 - 1, str(2**53)]),
        ("SV", struct.pack("<qq", -(2**53) + 1, -(2**63)), [-(2**53) + 1, str(-(2**63))]),
        ("FL", b"\x00\x00\xc0\x3f", [1.5]),
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf8\x3f", [1.5]),
        ("AT", b"\x18\x00\x63\x10", ["00181063"]),
        ("LT", b"one\\text ", ["one\\text"]),
        ("LT", b"two\r\nlines", ["two\r\nlines"]),
    ],
)
def test_a_value_is_written_as_it_stands(vr: str, raw: bytes, values: list[Any]) -> None:
    assert of(vr, raw) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", [*TEXTS, *NUMBERS])
def test_an_empty_value_has_no_value_entry(vr: str) -> None:
    assert of(vr, b"") == {"vr": vr}


@pytest.mark.parametrize("vr", ["UI", "AE", "CS", "PN", "DS", "IS", "LT"])
@pytest.mark.parametrize("raw", [b"  ", b"\0\0", b" \0"])
def test_a_value_of_padding_alone_counts_as_empty(vr: str, raw: bytes) -> None:
    assert of(vr, raw) == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "raw"),
    [
        ("US", b"\x01\x00\x02"),
        ("FD", b"\x00" * 7),
        ("AT", b"\x08\x00"),
        ("FL", struct.pack("<ff", 1.5, math.nan)),
        ("FD", struct.pack("<d", math.inf)),
        ("FD", struct.pack("<d", -math.inf)),
        ("SQ", b"\xfe\xff\x00\xe0"),
        ("OB", b"\x00\x01"),
        ("??", b"text"),
    ],
)
def test_bytes_that_are_no_values_in_json_are_left_to_the_caller(vr: str, raw: bytes) -> None:
    assert of(vr, raw) is None


def test_numbers_are_read_in_the_byte_order_of_the_transfer_syntax() -> None:
    assert of("US", b"\x01\x02", "<") == {"vr": "US", "Value": [0x0201]}
    assert of("US", b"\x01\x02", ">") == {"vr": "US", "Value": [0x0102]}


def test_a_binary_value_is_base64() -> None:
    assert inline_binary("OB", b"\x00\xff") == {"vr": "OB", "InlineBinary": "AP8="}
    assert inline_binary("OB", b"") == {"vr": "OB"}


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=64))
def test_printable_text_is_written_as_pydicom_writes_it(text: str) -> None:
    oracle = DataElement(0x00080070, "LO", text).to_json_dict(None, 0)

    assert of("LO", text.encode()) == oracle


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_integers_are_written_as_pydicom_writes_them(numbers: list[int]) -> None:
    raw = "\\".join(map(str, numbers))
    oracle = DataElement(0x00200013, "IS", raw).to_json_dict(None, 0)

    assert of("IS", raw.encode()) == oracle


@given(
    st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.from_regex("[0-9]{1,20}[.][0-9]{0,20}", fullmatch=True)
)
def test_a_decimal_is_the_same_number_when_its_json_is_read(text: str) -> None:
    (value,) = (of("DS", text.strip().encode()) or {})["Value"]

    assert Decimal(json.loads(json.dumps(value), parse_float=str, parse_int=str)) == Decimal(text.strip())


@pytest.mark.parametrize(("vr", "letter"), sorted(FORMATS.items()))
@given(data=st.data(), order=st.sampled_from("<>"))
def test_binary_numbers_of_any_bytes_are_written_back_as_they_were(
    vr: str, letter: str, order: str, data: st.DataObject
) -> None:
    size = struct.calcsize(order + letter)
    raw = data.draw(st.integers(1, 4).flatmap(lambda count: st.binary(min_size=count * size, max_size=count * size)))
    found = of(vr, raw, order)
    numbers = [float(value) if letter in "fd" else int(value) for value in found["Value"]] if found else []

    if found is None:
        assert not all(map(math.isfinite, struct.unpack(f"{order}{len(raw) // size}{letter}", raw)))
    else:
        assert struct.pack(f"{order}{len(numbers)}{letter}", *numbers) == raw


@given(st.sampled_from([*TEXTS, *NUMBERS]), st.binary(max_size=40), st.sampled_from("<>"))
def test_any_bytes_of_any_vr_give_an_element_without_lone_null_or_are_left_to_the_caller(
    vr: str, raw: bytes, order: str
) -> None:
    found = of(vr, raw, order)

    assert found is None or (found["vr"] == vr and found.get("Value") != [None])


# What dcmtk writes otherwise: nothing here. Of each VR some values as devices write them.
BY_DCMTK = (
    (0x00181152, "IS", b"14.5"),
    (0x00181150, "IS", b"1\\2.5\\3 "),
    (0x00200013, "IS", b"+8"),
    (0x00200012, "IS", b"007 "),
    (0x00200011, "IS", b"ABC "),
    (0x00180050, "DS", b"1\\1,5\\\\3"),
    (0x00101001, "PN", b"A^B\\\\C^D"),
    (0x00081030, "LO", b" A \\ B  "),
    (0x00080030, "TM", b"235960"),
    (0x00204000, "LT", b"  a\\b\r\n "),
)


def test_dcmtk_writes_the_same_values(dcmtk: Programs, tmp_path: Path) -> None:
    file = tmp_path / "values.dcm"
    data_set = b"".join(short_element(*element) for element in sorted(BY_DCMTK))
    file.write_bytes(part10_prefix("1.2", "1.3", EXPLICIT_VR_LITTLE_ENDIAN) + data_set)
    theirs = json.loads(dcmtk.run("dcm2json", file).stdout)

    assert {tag: element for tag, element in theirs.items() if tag != "00080005"} == {
        f"{tag:08X}": element_json(vr, raw, "<", DEFAULT_REPERTOIRE) for tag, vr, raw in BY_DCMTK
    }
