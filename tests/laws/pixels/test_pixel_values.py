"""Samples have the value and the sign that the header says, however they are compressed."""

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.pixels import get_encoder
from pydicom.uid import UID, JPEG2000Lossless, RLELossless

from operators.imaging.decoding.code_stream import CodeStream
from operators.imaging.decoding.pixels import PixelDescription, lossy_values, stored_range, stored_values
from tests.support.data.render_jobs import samples_of
from tests.support.data.sent_images import described, encapsulated_image, native_image
from tests.support.machine.debian_tools import Programs

SEEDS = range(10)
# Pixel Representation: unsigned, signed.
SIGNS = (0, 1)
ROWS, COLUMNS = 32, 32


def image(seed: int, sign: int) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Return the attributes and the values of an image whose samples may be short of their words."""
    chosen = random.Random(seed)
    allocated = chosen.choice([8, 16, 16, 16])
    stored = chosen.randint(max(allocated // 2, 3), allocated)
    attributes = described(
        ROWS,
        COLUMNS,
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=sign,
    )
    low = -(1 << stored - 1) if sign else 0
    ramp = low + np.arange(ROWS * COLUMNS) * ((1 << stored) - 1) // (ROWS * COLUMNS - 1)
    return attributes, ramp.reshape(ROWS, COLUMNS)


def words(attributes: dict[str, Any], values: np.ndarray[Any, Any], *, is_cut: bool = True) -> np.ndarray[Any, Any]:
    """Return values as unsigned words, the bits above High Bit cleared if `is_cut`, else filled with the sign."""
    mask = (1 << attributes["BitsStored"]) - 1
    size = attributes["BitsAllocated"] // 8
    return np.asarray((values & mask if is_cut else values).astype(f"<i{size}").view(f"<u{size}"))


@pytest.mark.parametrize("above", ["cleared", "filled with the sign"])
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_native_samples_have_their_sign_with_or_without_it_in_the_upper_bits(seed: int, sign: int, above: str) -> None:
    attributes, values = image(seed, sign)
    sent = native_image(words(attributes, values, is_cut=above == "cleared").tobytes(), **attributes)

    np.testing.assert_array_equal(samples_of(sent), values)


# Programs of dcmtk and their options.
ENCODERS = {
    "JPEG-LS": ("dcmcjpls",),
    "lossless JPEG": ("dcmcjpeg", "+e1"),
    "lossless JPEG of another predictor": ("dcmcjpeg", "+el", "+sv", "4"),
    "RLE": ("dcmcrle",),
}


@pytest.mark.parametrize("how", ENCODERS)
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_samples_that_dcmtk_compressed_are_those_that_were_sent(
    dcmtk: Programs, tmp_path: Path, seed: int, sign: int, how: str
) -> None:
    attributes, values = image(seed, sign)
    program, *options = ENCODERS[how]
    (tmp_path / "native.dcm").write_bytes(native_image(words(attributes, values).tobytes(), **attributes))
    dcmtk.run(program, *options, tmp_path / "native.dcm", tmp_path / "compressed.dcm")

    np.testing.assert_array_equal(samples_of((tmp_path / "compressed.dcm").read_bytes()), values)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("stream_sign", SIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_header_says_the_sign_whatever_the_code_stream_says(
    seed: int, stream_sign: int, sign: int, syntax: str
) -> None:
    attributes, values = image(seed, sign)
    # JPEG 2000 code streams say a sign of their own, which may be another than the header's.
    told = attributes | {"PixelRepresentation": stream_sign}
    half = 1 << attributes["BitsStored"] - 1
    given_values = (values + half) % (2 * half) - half if stream_sign else values % (2 * half)
    stream = encoded(given_values, told, syntax)

    np.testing.assert_array_equal(samples_of(encapsulated_image([stream], syntax, **attributes)), values)


def encoded(values: np.ndarray[Any, Any], attributes: dict[str, Any], syntax: str) -> bytes:
    """Return the code stream of one frame."""
    kind = f"{'iu'[attributes['PixelRepresentation'] == 0]}{attributes['BitsAllocated'] // 8}"
    return bytes(
        get_encoder(UID(syntax)).encode(
            values.astype(kind),
            rows=ROWS,
            columns=COLUMNS,
            samples_per_pixel=1,
            number_of_frames=1,
            bits_allocated=attributes["BitsAllocated"],
            bits_stored=attributes["BitsStored"],
            pixel_representation=attributes["PixelRepresentation"],
            photometric_interpretation="MONOCHROME2",
        )
    )


@st.composite
def descriptions(draw: Callable[[Any], Any]) -> PixelDescription:
    allocated = draw(st.sampled_from([8, 16, 32]))
    high_bit = draw(st.integers(0, allocated - 1))
    return PixelDescription(
        rows=1,
        columns=1,
        samples=1,
        bits_allocated=allocated,
        bits_stored=draw(st.integers(1, high_bit + 1)),
        high_bit=high_bit,
        is_signed=draw(st.booleans()),
        photometric_interpretation="MONOCHROME2",
    )


@given(descriptions(), st.data())
def test_a_sample_is_the_stored_bits_below_the_high_bit_and_no_others(
    description: PixelDescription, data: st.DataObject
) -> None:
    low, high = stored_range(description)
    value = data.draw(st.integers(low, high))
    others = data.draw(st.integers(0, (1 << description.bits_allocated) - 1))
    down = description.high_bit + 1 - description.bits_stored
    mask = ((1 << description.bits_stored) - 1) << down
    word = (value << down) & mask | others & ~mask
    samples = np.array([word], f"u{description.bits_allocated // 8}")

    assert stored_values(samples, description).tolist() == [value]


@given(descriptions(), st.data())
def test_a_code_stream_shorter_than_the_high_bit_has_the_lowest_bits(
    description: PixelDescription, data: st.DataObject
) -> None:
    precision = data.draw(st.integers(1, description.high_bit + 1))
    stored = min(description.bits_stored, precision)
    half = 1 << stored - 1
    value = data.draw(st.integers(-half, half - 1) if description.is_signed else st.integers(0, 2 * half - 1))
    word = value & ((1 << stored) - 1)
    if precision == description.high_bit + 1:
        word <<= description.high_bit + 1 - stored
    samples = np.array([word], f"u{description.bits_allocated // 8}")

    assert stored_values(samples, description, CodeStream(precision)).tolist() == [value]


@pytest.mark.parametrize(("sign", "word", "wanted"), [(0, 4100, 4095), (1, 2060, 2047), (1, 65536 - 2060, -2048)])
def test_a_loss_beyond_the_stored_bits_is_their_end_and_does_not_wrap(sign: int, word: int, wanted: int) -> None:
    description = PixelDescription(1, 1, 1, 16, 12, 11, bool(sign), "MONOCHROME2")
    samples = np.array([word], np.uint16)

    assert lossy_values(samples, description, CodeStream(16, bool(sign))).tolist() == [wanted]


def test_an_image_that_pydicom_reads_is_the_same_here() -> None:
    attributes, values = image(4, 1)
    sent = native_image(words(attributes, values).tobytes(), **attributes)

    np.testing.assert_array_equal(dcmread(BytesIO(sent)).pixel_array, values)
