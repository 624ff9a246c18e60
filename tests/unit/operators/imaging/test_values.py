"""Values of data sets from anybody: what cannot be read counts as absent."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from operators.imaging.values import RawValue, integer_of, items_of, number_of, numbers_of, raw_of, text_of

ROWS, SLOPE, PHOTOMETRIC, WINDOWS, INSTANCE_NUMBER = 0x00280010, 0x00281053, 0x00280004, 0x00281050, 0x00200013


def data_set(tag: int, vr: str | None, raw: bytes) -> Dataset:
    """Return a data set with one element as it was sent, not yet read by pydicom."""
    raw_element = RawDataElement(Tag(tag), vr, len(raw), raw, 0, is_implicit_VR=False, is_little_endian=True)
    return Dataset({Tag(tag): raw_element})


@pytest.mark.parametrize("read", [raw_of, items_of, numbers_of])
def test_an_absent_element_has_no_value(read: Callable[[Dataset, str], Any]) -> None:
    assert not read(Dataset(), "Rows")


def test_an_empty_element_counts_as_absent() -> None:
    assert raw_of(data_set(PHOTOMETRIC, "CS", b""), "PhotometricInterpretation") is None
    assert number_of(data_set(SLOPE, "DS", b""), "RescaleSlope", 1.0) == 1.0


def test_what_stands_in_for_an_absent_element_is_the_default() -> None:
    assert number_of(Dataset(), "RescaleSlope", 1.5) == 1.5
    assert integer_of(Dataset(), "Rows", -1) == -1
    assert text_of(Dataset(), "PhotometricInterpretation", "none") == "none"


def test_a_value_is_read_as_it_was_sent() -> None:
    assert raw_of(data_set(ROWS, "US", b"\x00\x02"), "Rows") == RawValue("US", b"\x00\x02", "<")
    assert integer_of(data_set(ROWS, "US", b"\x00\x02"), "Rows", -1) == 512
    assert integer_of(data_set(ROWS, "US", b"\x00\x00"), "Rows", -1) == 0


@pytest.mark.parametrize("vr", ["UN", None])
def test_a_value_without_a_vr_has_that_of_the_dictionary(vr: str | None) -> None:
    assert integer_of(data_set(ROWS, vr, b"\x00\x02"), "Rows", -1) == 512
    assert numbers_of(data_set(SLOPE, vr, b"1.5 "), "RescaleSlope") == [1.5]


def test_memory_that_runs_out_is_no_absent_value() -> None:
    class Full(Dataset):  # type: ignore[misc]
        """A data set whose values do not fit into memory."""

        def __contains__(self, name: object) -> bool:
            raise MemoryError

    with pytest.raises(MemoryError):
        items_of(Full(), "Rows")


@pytest.mark.parametrize("raw", [b"\x01", b"\x01\x02\x03"])
def test_a_value_whose_length_does_not_fit_its_vr_counts_as_absent(raw: bytes) -> None:
    assert integer_of(data_set(ROWS, "US", raw), "Rows", -1) == -1


@pytest.mark.parametrize(
    "raw", [b"NaN", b"inf ", b"1e999", b"two", b"1_0", b"0x10", b"1,2,3", b"1.2.3", b".", b"--1", b""]
)
def test_what_is_not_a_finite_number_is_none_and_the_others_are_read(raw: bytes) -> None:
    first, last = numbers_of(data_set(WINDOWS, "DS", raw + b"\\40"), "WindowCenter")

    assert (math.isnan(first), last) == (True, 40.0)
    assert number_of(data_set(WINDOWS, "DS", raw + b"\\40"), "WindowCenter", -1) == -1


@pytest.mark.parametrize(
    ("raw", "number"),
    [(b"40,5", 40.5), (b"-,5", -0.5), (b" +4e1\0", 40.0), (b"40.", 40.0), (b"0040", 40.0), (b"1,5E-1", 0.15)],
)
def test_a_decimal_comma_is_a_point_and_padding_does_not_count(raw: bytes, number: float) -> None:
    assert numbers_of(data_set(WINDOWS, "DS", raw), "WindowCenter") == [number]


@pytest.mark.parametrize(("vr", "letter"), [("FL", "f"), ("FD", "d")])
def test_binary_numbers_that_are_not_finite_are_none(vr: str, letter: str) -> None:
    raw = struct.pack(f"<3{letter}", math.nan, math.inf, 40)

    assert [math.isnan(number) for number in numbers_of(data_set(WINDOWS, vr, raw), "WindowCenter")] == [
        True,
        True,
        False,
    ]


def test_several_numbers_are_read_in_their_order_and_the_first_one_alone() -> None:
    windows = data_set(WINDOWS, "DS", b"40\\-600.5")

    assert numbers_of(windows, "WindowCenter") == [40.0, -600.5]
    assert number_of(windows, "WindowCenter", 0.0) == 40.0


def test_an_integer_too_large_for_a_float_is_no_number() -> None:
    assert integer_of(data_set(INSTANCE_NUMBER, "IS", b"9" * 400), "InstanceNumber", -1) == -1


@pytest.mark.parametrize(("vr", "raw"), [("LO", b"40"), ("SH", b" 40 "), ("IS", b"40"), ("US", b"\x28\x00")])
def test_a_number_of_another_vr_is_read_too(vr: str, raw: bytes) -> None:
    assert numbers_of(data_set(WINDOWS, vr, raw), "WindowCenter") == [40.0]


@pytest.mark.parametrize(("raw", "integer"), [(b"7", 7), (b"7.9", 7), (b"-7.9", -7), (b"3\\4", 3)])
def test_the_first_number_as_an_integer_loses_its_fraction(raw: bytes, integer: int) -> None:
    assert integer_of(data_set(WINDOWS, "DS", raw), "WindowCenter", -1) == integer


def test_a_sequence_has_its_items_and_no_numbers() -> None:
    item = data_set(ROWS, "US", b"\x00\x02")
    whole = Dataset()
    whole.SharedFunctionalGroupsSequence = [item, Dataset()]

    assert items_of(whole, "SharedFunctionalGroupsSequence") == [item, Dataset()]
    assert numbers_of(whole, "SharedFunctionalGroupsSequence") == []


def test_bytes_are_no_numbers() -> None:
    assert numbers_of(data_set(WINDOWS, "OB", b"40"), "WindowCenter") == []


@pytest.mark.parametrize(("vr", "raw"), [("CS", b"RGB "), ("CS", b"A\\B "), ("US", b"\x01\x00"), ("OB", b"\x01\x00")])
def test_an_element_that_should_be_a_sequence_and_is_none_has_no_items(vr: str, raw: bytes) -> None:
    assert items_of(data_set(PHOTOMETRIC, vr, raw), "PhotometricInterpretation") == []


def test_text_is_read_in_capitals_without_spaces_around_it() -> None:
    assert text_of(data_set(PHOTOMETRIC, "CS", b" rgb "), "PhotometricInterpretation", "") == "RGB"


def test_several_texts_are_none() -> None:
    assert text_of(data_set(PHOTOMETRIC, "CS", b"RGB\\YBR_FULL"), "PhotometricInterpretation", "none") == "none"


def test_a_number_is_no_text() -> None:
    assert text_of(data_set(PHOTOMETRIC, "US", b"\x01\x00"), "PhotometricInterpretation", "none") == "none"
