"""Pixels that contradict their attributes are shown as what they are, or not at all; the sender is warned."""

import random
import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.pixels import get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from operators.dicom.frames import frame_range
from operators.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.errors import Rejected
from tests.support.data.render_jobs import job_of, picture_of
from tests.support.data.sent_images import described, encapsulated_image, native_image
from tests.support.data.small_instances import examine_file

NATIVE_SYNTAXES = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
SEEDS = range(12)


def shown(whole: bytes, number: int = 1) -> Any:
    """Return the pixels of a frame's picture; a frame that cannot be asked for is an error of the test."""
    job = job_of(whole, number)
    assert job
    return picture_of(job)


def colours(seed: int) -> tuple[dict[str, Any], int]:
    """Return the attributes of an image that is said to share chroma, and the bytes of a frame that does not."""
    chosen = random.Random(seed)
    rows, columns, bits = chosen.randint(1, 9), chosen.randint(1, 9), chosen.choice([8, 8, 16])
    attributes = described(
        rows,
        columns,
        SamplesPerPixel=3,
        PhotometricInterpretation=chosen.choice(["YBR_FULL_422", "YBR_PARTIAL_422"]),
        PlanarConfiguration=chosen.choice([0, 1]),
        NumberOfFrames=chosen.randint(1, 4),
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    return attributes, rows * columns * 3 * bits // 8


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
def test_chroma_of_every_pixel_is_read_although_it_is_said_to_be_shared(syntax: str, seed: int) -> None:
    attributes, size = colours(seed)
    count = attributes["NumberOfFrames"]
    pixels = random.Random(seed).randbytes(size * count)
    sent = native_image(pixels, syntax, **attributes)
    right = attributes | {"PhotometricInterpretation": attributes["PhotometricInterpretation"].removesuffix("_422")}
    truly = native_image(pixels, syntax, **right)
    listed, wanted = examine_file(sent).frames, examine_file(truly).frames

    assert examine_file(sent).warnings == ("surplus-pixels",)
    assert (listed.kind, listed.length, listed.count) == (wanted.kind, wanted.length, wanted.count)
    for number in range(1, count + 1):
        np.testing.assert_array_equal(shown(sent, number), shown(truly, number))


def test_frames_with_all_their_chroma_are_cut_by_their_true_length() -> None:
    attributes, size = colours(3)
    frames = [bytes([number]) * size for number in range(attributes["NumberOfFrames"])]
    sent = native_image(b"".join(frames), **attributes)
    listed = examine_file(sent).frames

    assert [sent[slice(*frame_range(listed, number + 1))] for number in range(listed.count)] == frames


def test_shared_chroma_is_read_as_shared_without_a_warning() -> None:
    attributes = described(2, 4, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL_422")
    sent = native_image(bytes([50, 60, 128, 128]) * 4, **attributes)

    assert not examine_file(sent).warnings
    assert shown(sent)[0].tolist() == [[50] * 3, [60] * 3] * 2


@pytest.mark.parametrize("surplus", [2, 3, 8, 16])
def test_pixels_longer_than_their_attributes_say_are_shown_and_the_sender_is_warned(surplus: int) -> None:
    sent = native_image(bytes(range(16)) + bytes(surplus), **described(4, 4))

    assert examine_file(sent).warnings == ("surplus-pixels",)
    assert shown(sent).reshape(-1).tolist() == list(range(16))


@pytest.mark.parametrize(("rows", "size"), [(4, 12), (3, 10)])
def test_pixels_as_long_as_their_attributes_say_bring_no_warning(rows: int, size: int) -> None:
    assert not examine_file(native_image(bytes(size), **described(rows, 3))).warnings


FRAGMENTS = {
    "a JPEG": [b"\xff\xd8\xff\xe0 a JPEG \xff\xd9"],
    "a JPEG in two": [b"\xff\xd8\xff\xe0 a", b"JPEG \xff\xd9"],
    "as many bytes as samples": [bytes(64)],
    "nothing": [],
    "an empty fragment": [b""],
    "two frames": [b"\xff\xd8 1 \xff\xd9", b"\xff\xd8 2 \xff\xd9"],
}


@pytest.mark.parametrize("fragments", FRAGMENTS)
@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_encapsulated_pixels_of_a_native_syntax_are_odd_and_have_no_picture(
    syntax: str, fragments: str, bits: int
) -> None:
    count = 2 if fragments == "two frames" else 1
    attributes = described(8, 8, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, NumberOfFrames=count)
    sent = encapsulated_image(FRAGMENTS[fragments], syntax, **attributes)
    examined = examine_file(sent)

    assert (examined.frames.kind, examined.frames.count) == ("unlisted", count)
    assert examined.warnings == ("odd-fragments",)
    for number in range(1, count + 1):
        with pytest.raises(Rejected, match="undecodable-frame"):
            shown(sent, number)


def items(fragments: list[bytes], order: str, end: bytes) -> bytes:
    """Return fragments as items, packed as struct writes this byte order, with what ends them."""
    headers = [struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(fragment)) for fragment in fragments]
    return b"".join(header + fragment for header, fragment in zip(headers, fragments, strict=True)) + end


DELIMITERS = {"<": bytes.fromhex("feffdde000000000"), ">": bytes.fromhex("fffee0dd00000000")}
ITEMS = [
    [b"", bytes(64)],
    [bytes(4), b"\xff\xd8 a JPEG \xff\xd9"],
    [bytes(100)],
    [b""] * 9,
    [b"", b"1" * 40, b"2" * 40],
]


@pytest.mark.parametrize("fragments", ITEMS)
@pytest.mark.parametrize("end", ["a delimiter", "nothing"])
@pytest.mark.parametrize("order", DELIMITERS)
@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
def test_items_in_native_pixels_of_defined_length_are_odd_and_have_no_picture(
    syntax: str, order: str, end: str, fragments: list[bytes]
) -> None:
    sent = native_image(
        items(fragments, order, DELIMITERS[order] if end == "a delimiter" else b""), syntax, **described(8, 8)
    )
    examined = examine_file(sent)

    assert (examined.frames.kind, examined.frames.count) == ("unlisted", 1)
    assert examined.warnings == ("odd-fragments",)
    with pytest.raises(Rejected, match="undecodable-frame"):
        shown(sent)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", DELIMITERS)
@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
def test_samples_that_begin_as_an_item_does_are_samples(syntax: str, order: str, seed: int) -> None:
    chosen = random.Random(seed)
    length = chosen.choice([0, 1, 40, 54, 57, 64, 0xFFFFFFFF, chosen.randrange(2**32)])
    begun = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, length)
    pixels = begun + b"\1" * (64 - len(begun))

    sent = native_image(pixels, syntax, **described(8, 8))

    assert not examine_file(sent).warnings
    # Sorted, because big-endian words have the second sample first.
    assert sorted(shown(sent).reshape(-1).tolist()) == sorted(pixels)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3"])
def test_native_pixels_of_a_compressed_syntax_are_odd_and_have_no_picture(syntax: str) -> None:
    sent = native_image(bytes(range(64)), syntax, **described(8, 8))

    assert (examine_file(sent).frames.kind, examine_file(sent).warnings) == ("unlisted", ("odd-fragments",))
    with pytest.raises(Rejected, match="undecodable-frame"):
        shown(sent)


GREEN_AND_RED = np.zeros((64, 64, 3), np.uint8)
GREEN_AND_RED[:, :32], GREEN_AND_RED[:, 32:] = (20, 180, 60), (200, 30, 40)
COLOURS = described(64, 64, SamplesPerPixel=3, PlanarConfiguration=0)


def jpeg_2000(said: str) -> bytes:
    """Return the colours in JPEG 2000, with the component transform if this photometric interpretation says so."""
    return bytes(
        get_encoder(JPEG2000Lossless).encode(
            GREEN_AND_RED,
            rows=64,
            columns=64,
            samples_per_pixel=3,
            number_of_frames=1,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            planar_configuration=0,
            photometric_interpretation=said,
        )
    )


@pytest.mark.parametrize("said", ["RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL", "YBR_FULL_422"])
def test_the_component_transform_of_jpeg_2000_is_undone_whatever_the_header_says(said: str) -> None:
    sent = encapsulated_image([jpeg_2000("YBR_RCT")], JPEG2000Lossless, **COLOURS | {"PhotometricInterpretation": said})

    np.testing.assert_array_equal(shown(sent), GREEN_AND_RED)


@pytest.mark.parametrize("said", ["RGB", "YBR_RCT", "YBR_ICT"])
def test_colours_of_jpeg_2000_without_a_transform_are_not_transformed(said: str) -> None:
    sent = encapsulated_image([jpeg_2000("RGB")], JPEG2000Lossless, **COLOURS | {"PhotometricInterpretation": said})

    np.testing.assert_array_equal(shown(sent), GREEN_AND_RED)


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"keep_rgb": False}, {"subsampling": 2}])
def test_a_jpeg_that_says_its_colours_itself_is_right_whatever_the_header_says(
    said: str, options: dict[str, Any]
) -> None:
    stream = BytesIO()
    Image.fromarray(GREEN_AND_RED).save(stream, "JPEG", quality=95, **options)
    elements = COLOURS | {"PhotometricInterpretation": said}
    found = shown(encapsulated_image([stream.getvalue()], JPEGBaseline8Bit, **elements)).astype(int)

    assert abs(found[:, :30] - GREEN_AND_RED[0, 0]).max() <= 4
    assert abs(found[:, 34:] - GREEN_AND_RED[0, 63]).max() <= 4
