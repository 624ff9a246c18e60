"""Palettes are read in every form that PS3.3 defines or known writers use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import Rejected
from operators.imaging.palette import Palette, eight_bit_entries, palette_column, segmented_entries
from operators.imaging.tables import TableDescriptor


def test_samples_outside_of_a_palette_have_the_colour_of_its_end() -> None:
    entries = palette_column(np.array([0, 0x7F00, 0xFF00], "<u2").tobytes(), b"", TableDescriptor(3, -1, 16))
    shown = Palette(-1, np.stack([entries] * 3, -1)).mapped(np.array([[-9, -1, 0, 1, 9]], np.int16))

    assert shown[0, :, 0].tolist() == [0, 0, 127, 255, 255]


@pytest.mark.parametrize("data", [bytes([1, 2, 3, 4]), np.array([1, 2, 3, 4], "<u2").tobytes()])
def test_entries_of_8_bits_are_read_from_bytes_and_from_words(data: bytes) -> None:
    assert palette_column(data, b"", TableDescriptor(4, 0, 8)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("data", "bits"), [(bytes(3), 8), (bytes(6), 16), (b"", 16), (bytes(4), 12)])
def test_a_palette_without_all_of_its_entries_is_refused(data: bytes, bits: int) -> None:
    with pytest.raises(Rejected, match="bad-palette"):
        palette_column(data, b"", TableDescriptor(4, 0, bits))


def test_entries_of_16_bits_that_use_no_upper_byte_count_as_8_bits() -> None:
    descriptor = TableDescriptor(2, 0, 16)

    assert eight_bit_entries(np.array([7, 255], np.uint16), descriptor).tolist() == [7, 255]


@pytest.mark.parametrize(
    ("bits", "words", "wanted"),
    [
        (16, [0, 2, 5, 6, 1, 3, 12], [5, 6, 8, 10, 12]),
        (16, [0, 2, 5, 6, 1, 2, 10, 2, 1, 0, 0], [5, 6, 8, 10, 5, 6]),
        (16, [0, 1, 9, 0, 2, 5, 6, 2, 1, 6, 0], [9, 5, 6, 5, 6]),
        (8, [0, 2, 5, 6, 2, 1, 0, 0, 0, 0], [5, 6, 5, 6]),
        (8, [0, 1, 9, 0, 2, 5, 6, 2, 1, 3, 0, 0, 0], [9, 5, 6, 5, 6]),
    ],
)
def test_a_segmented_palette_is_expanded_as_in_ps3_3_c_7_9_2(bits: int, words: list[int], wanted: list[int]) -> None:
    data = np.array(words, f"<u{bits // 8}").tobytes()

    assert segmented_entries(data, TableDescriptor(len(wanted), 0, bits)).tolist() == wanted


@given(st.binary(max_size=64), st.integers(1, 65536), st.sampled_from([8, 16]))
def test_a_segmented_palette_has_as_many_entries_as_its_descriptor_says(data: bytes, entries: int, bits: int) -> None:
    try:
        found = segmented_entries(data, TableDescriptor(entries, 0, bits))
    except Rejected:
        return

    assert len(found) == entries


@pytest.mark.parametrize("words", [[2, 1, 0, 0], [0, 2, 5, 6, 2, 1, 1, 0]])
def test_an_indirect_segment_within_another_or_within_an_entry_is_refused(words: list[int]) -> None:
    with pytest.raises(Rejected, match="bad-palette"):
        segmented_entries(np.array(words, "<u2").tobytes(), TableDescriptor(9, 0, 16))
