"""Bytes of a frame as samples: pydicom is the oracle for what it decodes, its native twin for what it does not."""

import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dicom.scan import EXPLICIT_VR_BIG_ENDIAN
from operators.errors import Rejected
from operators.imaging.pixels import DEFLATED_FRAMES, RLE, PixelDescription, bit_packed, decode, native
from operators.imaging.reasons import TOO_LARGE
from tests.support.data.pictures import job_of, picture_of

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
    samples = native(frame, replace(GRAY, **change))  # type: ignore[arg-type]

    assert samples.shape == (2, 3)
    assert samples.reshape(-1).tolist() == list(wanted)  # type: ignore[call-overload]


def test_big_endian_words_and_bytes_in_words_are_turned() -> None:
    assert native(np.arange(6, dtype=">u2").tobytes(), GRAY, EXPLICIT_VR_BIG_ENDIAN).reshape(-1).tolist() == [*range(6)]
    turned = native(bytes([1, 0, 3, 2, 5, 4]), replace(BYTES, is_word=True), EXPLICIT_VR_BIG_ENDIAN)

    assert turned.reshape(-1).tolist() == [*range(6)]


def test_colours_by_plane_are_those_by_pixel() -> None:
    by_pixel = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    by_plane = by_pixel.transpose(2, 0, 1).tobytes()

    assert (native(by_plane, replace(COLOUR, planar_configuration=1)) == by_pixel).all()
    assert (native(by_pixel.tobytes(), COLOUR) == by_pixel).all()


@pytest.mark.parametrize("photometric_interpretation", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_neighbours_share_their_halved_chroma(photometric_interpretation: str) -> None:
    halved = replace(COLOUR, rows=1, columns=2, photometric_interpretation=photometric_interpretation)

    assert halved.native_bytes == 4
    assert native(bytes([10, 20, 30, 40]), halved).tolist() == [[[10, 30, 40], [20, 30, 40]]]


@given(st.data())
def test_a_frame_of_bits_begins_where_the_one_before_it_ends(data: st.DataObject) -> None:
    one = replace(GRAY, rows=data.draw(st.integers(1, 9)), columns=data.draw(st.integers(1, 9)), bits_allocated=1)
    count = data.draw(st.integers(1, 5))
    bits = data.draw(
        st.lists(st.integers(0, 1), min_size=count * one.rows * one.columns, max_size=count * one.rows * one.columns)
    )
    packed = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    number = data.draw(st.integers(1, count))

    frame = native(bit_packed(packed, one, number), one)
    size = one.rows * one.columns

    assert frame.reshape(-1).tolist() == bits[(number - 1) * size : number * size]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.3"])
def test_what_has_no_decoder_is_said_to_have_none(syntax: str) -> None:
    with pytest.raises(Rejected, match="unsupported-transfer-syntax"):
        decode(b"", GRAY, syntax, is_native=False)


@pytest.mark.parametrize("description", [GRAY, BYTES, COLOUR, replace(GRAY, bits_allocated=1)])
def test_a_frame_that_is_too_short_is_refused(description: PixelDescription) -> None:
    with pytest.raises(Rejected, match="undecodable-frame"):
        native(b"", description)


@given(st.binary(max_size=200), st.sampled_from(["5", "4.50", "4.51", "4.70", "4.80", "4.90", "4.201", "8.1"]))
def test_no_bytes_make_a_decoder_raise_anything_but_rejected(frame: bytes, syntax: str) -> None:
    with suppress(Rejected):
        decode(frame, GRAY, f"1.2.840.10008.1.2.{syntax}", is_native=False)


def test_a_decoder_that_panics_costs_its_frame() -> None:
    # PS3.5 G: two segments, the second of 7 bytes where a sample's half has 6.
    segments = bytes([0, 0]) + bytes([6]) + bytes(7)
    frame = struct.pack("<16I", 2, 64, 66, *[0] * 13) + segments

    with pytest.raises(Rejected, match="undecodable-frame"):
        decode(frame, GRAY, RLE, is_native=False)


def test_a_deflated_frame_is_inflated_to_what_it_says_and_no_more() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(np.arange(6, dtype="<u2").tobytes() + bytes(10_000_000)) + deflate.flush()

    assert decode(bomb, GRAY, DEFLATED_FRAMES, is_native=False).samples.reshape(-1).tolist() == [*range(6)]


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("sop/pydicom-data/liver_rle.dcm", "sop/pydicom-data/liver.dcm"),
        ("sop/pydicom-data/liver_deflate.dcm", "sop/pydicom-data/liver.dcm"),
        ("sop/pydicom-data/liver_j2k.dcm", "sop/pydicom-data/liver.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_rle.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_deflate.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_j2k.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("ts/DICOMHTJ2K/CT1_JPH", "ts/DICOMHTJ2K/CT1_UNC"),
        ("ts/DICOMHTJ2K/MR4_JPH", "ts/DICOMHTJ2K/MR4_UNC"),
        ("ts/DICOMHTJ2K/US1_JPH", "ts/DICOMHTJ2K/US1_UNC"),
    ],
)
def test_every_frame_looks_as_its_uncompressed_twin(corpus: Path, name: str, twin: str) -> None:
    compressed, plain = (
        [picture_of(job) for number in (1, 2, 3) if (job := job_of((corpus / one).read_bytes(), number))]
        for one in (name, twin)
    )

    assert compressed
    np.testing.assert_array_equal(compressed, plain)


def test_an_image_larger_than_the_limit_is_not_decoded(corpus: Path) -> None:
    job = job_of((corpus / "ts/DICOMHTJ2K/CT1_JPH").read_bytes())
    assert job

    with pytest.raises(Rejected, match=TOO_LARGE):
        picture_of(replace(job, most_bytes=512 * 512 * 2 - 1))
