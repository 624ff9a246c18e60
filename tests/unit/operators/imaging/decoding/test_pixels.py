"""The bytes of a frame are decoded to its samples, and no bytes make a decoder fail in an unknown way."""

import struct
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN
from operators.errors import Rejected
from operators.imaging.decoding.pixels import (
    DEFLATED_FRAMES,
    RLE,
    PixelDescription,
    bit_packed_frame,
    decode,
    native_samples,
)

GRAY = PixelDescription(2, 3, 1, 16, 16, 15, is_signed=False, photometric_interpretation="MONOCHROME2")
BYTES = replace(GRAY, bits_allocated=8, bits_stored=8, high_bit=7)
COLOUR = replace(BYTES, samples=3, photometric_interpretation="RGB")


@pytest.mark.parametrize(
    ("change", "frame", "wanted"),
    [
        ({}, np.arange(6, dtype="<u2").tobytes(), [0, 1, 2, 3, 4, 5]),
        ({"bits_stored": 12, "high_bit": 11}, np.array([0xF001, 0xFFF] * 3, "<u2").tobytes(), [1, 4095] * 3),
        ({"bits_stored": 12}, np.array([0x001F, 0xFFFF] * 3, "<u2").tobytes(), [1, 4095] * 3),
        (
            {"bits_stored": 12, "high_bit": 11, "is_signed": True},
            np.array([0x0FFF, 0x07FF] * 3, "<u2").tobytes(),
            [-1, 2047] * 3,
        ),
        ({"is_signed": True}, np.array([-5, 7] * 3, "<i2").tobytes(), [-5, 7] * 3),
        ({"bits_allocated": 32, "bits_stored": 32, "high_bit": 31}, np.arange(6, dtype="<u4").tobytes(), range(6)),
        ({"bits_allocated": 1, "bits_stored": 1, "high_bit": 0}, bytes([0b101001]), [1, 0, 0, 1, 0, 1]),
        ({"bits_allocated": 32, "is_float": True}, np.array([0.5] * 6, "<f4").tobytes(), [0.5] * 6),
        ({"bits_allocated": 64, "is_float": True}, np.array([0.5] * 6, "<f8").tobytes(), [0.5] * 6),
    ],
)
def test_native_samples_keep_their_stored_bits_and_their_sign(
    change: dict[str, int], frame: bytes, wanted: object
) -> None:
    samples = native_samples(frame, replace(GRAY, **change))  # type: ignore[arg-type]

    assert samples.shape == (2, 3)
    assert samples.reshape(-1).tolist() == list(wanted)  # type: ignore[call-overload]


def test_big_endian_words_and_bytes_within_words_are_swapped() -> None:
    assert native_samples(np.arange(6, dtype=">u2").tobytes(), GRAY, EXPLICIT_VR_BIG_ENDIAN).reshape(-1).tolist() == [
        *range(6)
    ]
    turned = native_samples(bytes([1, 0, 3, 2, 5, 4]), replace(BYTES, is_swapped=True), EXPLICIT_VR_BIG_ENDIAN)

    assert turned.reshape(-1).tolist() == [*range(6)]


def test_colours_stored_by_plane_equal_those_stored_by_pixel() -> None:
    by_pixel = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    by_plane = by_pixel.transpose(2, 0, 1).tobytes()

    assert (native_samples(by_plane, replace(COLOUR, planar_configuration=1)) == by_pixel).all()
    assert (native_samples(by_pixel.tobytes(), COLOUR) == by_pixel).all()


@pytest.mark.parametrize("photometric_interpretation", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_neighbouring_pixels_share_their_halved_chroma(photometric_interpretation: str) -> None:
    halved = replace(COLOUR, rows=1, columns=2, photometric_interpretation=photometric_interpretation, stored_samples=2)

    assert halved.native_bytes == 4
    assert native_samples(bytes([10, 20, 30, 40]), halved).tolist() == [[[10, 30, 40], [20, 30, 40]]]


@given(st.data())
def test_a_frame_of_1_bit_samples_begins_where_the_one_before_it_ends(data: st.DataObject) -> None:
    one = replace(GRAY, rows=data.draw(st.integers(1, 9)), columns=data.draw(st.integers(1, 9)), bits_allocated=1)
    count = data.draw(st.integers(1, 5))
    bits = data.draw(
        st.lists(st.integers(0, 1), min_size=count * one.rows * one.columns, max_size=count * one.rows * one.columns)
    )
    packed = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    number = data.draw(st.integers(1, count))

    frame = native_samples(bit_packed_frame(packed, one, number), one)
    size = one.rows * one.columns

    assert frame.reshape(-1).tolist() == bits[(number - 1) * size : number * size]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.3"])
def test_a_transfer_syntax_without_a_decoder_is_refused_as_unsupported(syntax: str) -> None:
    with pytest.raises(Rejected, match="unsupported-transfer-syntax"):
        decode(b"", GRAY, syntax, is_native=False)


@pytest.mark.parametrize("description", [GRAY, BYTES, COLOUR, replace(GRAY, bits_allocated=1)])
def test_a_frame_that_is_too_short_is_refused(description: PixelDescription) -> None:
    with pytest.raises(Rejected, match="undecodable-frame"):
        native_samples(b"", description)


@given(st.binary(max_size=200), st.sampled_from(["5", "4.50", "4.51", "4.70", "4.80", "4.90", "4.201", "8.1"]))
def test_no_bytes_make_a_decoder_raise_anything_but_rejected(frame: bytes, syntax: str) -> None:
    with suppress(Rejected):
        decode(frame, GRAY, f"1.2.840.10008.1.2.{syntax}", is_native=False)


def test_a_decoder_that_panics_refuses_the_frame() -> None:
    # PS3.5 G: two segments, one per byte of a sample; the second has 7 bytes instead of 6.
    segments = bytes([0, 0]) + bytes([6]) + bytes(7)
    frame = struct.pack("<16I", 2, 64, 66, *[0] * 13) + segments

    with pytest.raises(Rejected, match="undecodable-frame"):
        decode(frame, GRAY, RLE, is_native=False)


def test_a_deflated_frame_is_inflated_to_the_size_of_the_frame_and_no_more() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(np.arange(6, dtype="<u2").tobytes() + bytes(10_000_000)) + deflate.flush()

    assert decode(bomb, GRAY, DEFLATED_FRAMES, is_native=False).samples.reshape(-1).tolist() == [*range(6)]
