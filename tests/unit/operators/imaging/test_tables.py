"""Descriptors and data of look-up tables are read in every spelling (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from operators.imaging.tables import TableDescriptor, plain_entries, read_descriptor, table_bytes

DESCRIPTOR, DATA = "LUTDescriptor", "LUTData"


def place(keyword: str, vr: str | None, raw: bytes, order: str = "<") -> Dataset:
    """Return a data set with one element as it was sent."""
    element = RawDataElement(Tag(keyword), vr, len(raw), raw, 0, is_implicit_VR=not vr, is_little_endian=order == "<")
    return Dataset({Tag(keyword): element})


# VR (None if implicit), the word of the first value mapped, the inputs, and what it means.
FIRSTS = {
    "signed by its VR": (("SS", 65024, (0, 4095)), -512),
    "unsigned by its VR": (("US", 40000, (-1024, 64511)), 40000),
    "US, yet beyond all inputs": (("US", 65024, (-512, 3583)), -512),
    "US of signed samples": (("US", 65535, (-32768, 32767)), -1),
    "US of unsigned samples": (("US", 65535, (0, 65535)), 65535),
    "implicit, of values that may be negative": ((None, 65024, (-1024, 64511)), -512),
    "implicit, of values that are never negative": ((None, 40000, (0, 65535)), 40000),
    "implicit, beyond all inputs": ((None, 65024, (0, 4095)), -512),
    "UN": (("UN", 65024, (-512, 3583)), -512),
    "positive": (("SS", 512, (-512, 3583)), 512),
}


@pytest.mark.parametrize("claim", FIRSTS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_first_value_mapped_has_the_sign_of_its_vr_or_of_the_inputs(claim: str, order: str) -> None:
    (vr, word, inputs), wanted = FIRSTS[claim]
    order = "<" if vr == "UN" else order
    data_set = place(DESCRIPTOR, vr, struct.pack(f"{order}3H", 1024, word, 16), order)

    assert read_descriptor(data_set, DESCRIPTOR, inputs) == TableDescriptor(1024, wanted, 16)


def test_no_entries_mean_65536() -> None:
    found = read_descriptor(place(DESCRIPTOR, "US", struct.pack("<3H", 0, 0, 8)), DESCRIPTOR, (0, 65535))

    assert found == TableDescriptor(65536, 0, 8)


@pytest.mark.parametrize("raw", [b"", bytes(4), bytes(8), struct.pack("<3H", 9, 0, 0), struct.pack("<3H", 9, 0, 17)])
def test_a_descriptor_of_another_form_is_none(raw: bytes) -> None:
    assert read_descriptor(place(DESCRIPTOR, "US", raw), DESCRIPTOR, (0, 255)) is None


@pytest.mark.parametrize(
    ("vr", "order", "wanted"),
    [("OW", "<", b"abcd"), ("OW", ">", b"badc"), ("US", ">", b"badc"), ("OB", ">", b"abcd"), ("UN", ">", b"abcd")],
)
def test_data_in_words_is_read_in_little_endian_order(vr: str, order: str, wanted: bytes) -> None:
    assert table_bytes(place(DATA, vr, b"abcd", order), DATA) == wanted
    assert table_bytes(Dataset(), DATA) == b""


# Entries and bits in the descriptor, data, entries and bits that are read.
SPELLINGS = {
    "bytes": ((4, 8, bytes([1, 2, 3, 4])), ([1, 2, 3, 4], 8)),
    "an odd number of bytes, padded": ((3, 8, bytes([1, 2, 3, 0])), ([1, 2, 3], 8)),
    "bytes, each in a word": ((4, 8, struct.pack("<4H", 1, 2, 3, 4)), ([1, 2, 3, 4], 8)),
    "fewer than 8 bits": ((4, 6, bytes([1, 2, 3, 63])), ([1, 2, 3, 63], 6)),
    "words": ((2, 12, struct.pack("<2H", 1, 4095)), ([1, 4095], 12)),
    "bytes said to be words": ((4, 16, bytes([1, 2, 3, 255])), ([1, 2, 3, 255], 8)),
    "one byte": ((1, 8, bytes([7, 0])), ([7], 8)),
    "one word": ((1, 16, struct.pack("<H", 300)), ([300], 16)),
    "words that are missing": ((9, 16, struct.pack("<2H", 1, 2)), ([1, 2], 16)),
    "more than there should be": ((2, 16, struct.pack("<3H", 1, 2, 3)), ([1, 2], 16)),
    "nothing": ((2, 16, b""), ([], 16)),
}


@pytest.mark.parametrize("claim", SPELLINGS)
def test_entries_are_bytes_or_words_by_the_length_of_the_data(claim: str) -> None:
    (count, bits, data), (wanted, wanted_bits) = SPELLINGS[claim]
    descriptor, entries = plain_entries(data, TableDescriptor(count, 0, bits))

    assert (entries.tolist(), descriptor.bits) == (wanted, wanted_bits)


@given(st.binary(max_size=40), st.integers(1, 20), st.integers(1, 16))
def test_never_more_entries_are_read_than_the_descriptor_says(data: bytes, count: int, bits: int) -> None:
    assert len(plain_entries(data, TableDescriptor(count, 0, bits))[1]) <= count
