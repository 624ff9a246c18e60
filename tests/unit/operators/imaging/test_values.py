"""Values of data sets from anybody: what cannot be read counts as absent."""

from collections.abc import Callable
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from operators.imaging.values import integer_of, items_of, number_of, numbers_of, text_of, value_of

ROWS, SLOPE, PHOTOMETRIC, WINDOWS = 0x00280010, 0x00281053, 0x00280004, 0x00281050


def data_set(tag: int, vr: str, raw: bytes) -> Dataset:
    """Return a data set with one element as it was sent, not yet read by pydicom."""
    raw_element = RawDataElement(Tag(tag), vr, len(raw), raw, 0, is_implicit_VR=False, is_little_endian=True)
    return Dataset({Tag(tag): raw_element})


@pytest.mark.parametrize("read", [value_of, items_of, numbers_of])
def test_an_absent_element_has_no_value(read: Callable[[Dataset, str], Any]) -> None:
    assert not read(Dataset(), "Rows")


def test_an_empty_element_counts_as_absent() -> None:
    assert value_of(data_set(PHOTOMETRIC, "CS", b""), "PhotometricInterpretation") is None
    assert number_of(data_set(SLOPE, "DS", b""), "RescaleSlope", 1.0) == 1.0


@pytest.mark.parametrize("raw", [b"\x01", b"\x01\x02\x03"])
def test_a_value_whose_length_does_not_fit_its_vr_counts_as_absent(raw: bytes) -> None:
    assert integer_of(data_set(ROWS, "US", raw), "Rows", -1) == -1


@pytest.mark.parametrize("raw", [b"NaN", b"inf ", b"1\\nan", b"1\\two"])
def test_numbers_are_none_when_one_of_them_is_not_a_finite_number(raw: bytes) -> None:
    assert numbers_of(data_set(WINDOWS, "DS", raw), "WindowCenter") == []


def test_several_numbers_are_read_in_their_order_and_the_first_one_alone() -> None:
    windows = data_set(WINDOWS, "DS", b"40\\-600.5")

    assert numbers_of(windows, "WindowCenter") == [40.0, -600.5]
    assert number_of(windows, "WindowCenter", 0.0) == 40.0


def test_bytes_are_no_numbers() -> None:
    assert numbers_of(data_set(WINDOWS, "OB", b"40"), "WindowCenter") == []


def test_an_element_that_should_be_a_sequence_and_is_none_has_no_items() -> None:
    assert items_of(data_set(PHOTOMETRIC, "CS", b"RGB "), "PhotometricInterpretation") == []


def test_text_is_read_in_capitals_without_spaces_around_it() -> None:
    assert text_of(data_set(PHOTOMETRIC, "CS", b" rgb "), "PhotometricInterpretation", "") == "RGB"


def test_several_texts_are_none() -> None:
    assert text_of(data_set(PHOTOMETRIC, "CS", b"RGB\\YBR_FULL"), "PhotometricInterpretation", "none") == "none"
