"""Laws of warnings: data that is too short, too much or foreign is stored, and its sender is told of it (B007)."""

import struct
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from gateway.intake.status import of_stored
from operators.dicom.instance import Examination, examine
from operators.dicom.part10 import split_part10
from operators.dicom.scan import LONG_VRS
from operators.dicom.transfer_syntaxes import VALUE_BYTES
from tests.support.data.elements import element, item
from tests.support.data.small_instances import examine_file, read_fact
from tests.support.worlds.reading import deflated, part10

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
PADDING, SIGNATURES = 0xFFFCFFFC, 0xFFFAFFFA


class Image(NamedTuple):
    """An image of two or more frames without a fault, in a native or an encapsulated transfer syntax."""

    syntax: str
    frames: int
    frame: bytes

    def file(self, stated: int | None = None, **elements: object) -> bytes:
        """Return its file, perhaps with another Number of Frames; `elements` replace or add attributes."""
        encoded = None if self.syntax in NATIVE else [self.frame] * self.frames
        whole = part10(self.syntax, encoded, NumberOfFrames=f"{self.frames:04}", **elements)
        return whole.replace(b"%04d" % self.frames, b"%04d" % (stated or self.frames))


images = st.builds(
    Image,
    st.sampled_from((*NATIVE, JPEGLSLossless, RLELossless)),
    st.integers(2, 5),
    st.binary(min_size=10, max_size=40).map(lambda raw: b"\xff\xd8" + raw.replace(b"\xff", b"") + b"  \xff\xd9"),
)
natives = st.builds(Image, st.sampled_from(NATIVE), st.integers(2, 5), st.just(b""))
encapsulated = images.filter(lambda image: image.syntax not in NATIVE)


def warned(whole: bytes) -> set[str]:
    """Return the warnings of a file; its sender gets B007 for any."""
    examination: Examination = examine_file(whole)
    assert (of_stored(examination.warnings).code == 0xB007) == bool(examination.warnings)
    return set(examination.warnings)


@given(images)
def test_an_image_without_a_fault_has_no_warning(image: Image) -> None:
    assert warned(image.file()) == set()
    assert warned(deflated(Image(NATIVE[0], image.frames, b"").file())) == set()


def written(image: Image, tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in the transfer syntax of an image."""
    if image.syntax == ImplicitVRLittleEndian:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    return element(tag, vr, value)


@given(images, st.integers(0, 50), st.booleans())
def test_padding_and_signatures_may_follow_the_pixels(image: Image, size: int, has_signature: bool) -> None:  # noqa: FBT001
    signatures = written(image, SIGNATURES, "SQ", item(bytes(16))) if has_signature else b""

    assert warned(image.file() + signatures + written(image, PADDING, "OB", bytes(2 * size))) == set()


@given(images, st.one_of(st.binary(min_size=1, max_size=7), st.integers(1, 600).map(bytes)))
def test_bytes_after_the_pixels_that_are_no_elements_are_warned_of(image: Image, tail: bytes) -> None:
    assert warned(image.file() + tail) == {"trailing-bytes"}


@given(images, st.integers(1, 9))
def test_an_element_after_the_pixels_that_is_cut_short_is_warned_of(image: Image, missing: int) -> None:
    assert warned((image.file() + written(image, PADDING, "OB", bytes(20)))[:-missing]) == {"trailing-bytes"}


@given(st.integers(10, 600).map(bytes))
def test_bytes_after_a_deflated_data_set_are_warned_of(tail: bytes) -> None:
    assert warned(deflated(part10()) + tail) == {"trailing-bytes"}


@given(natives, st.integers(2, 12))
def test_pixels_that_end_too_early_are_warned_of(image: Image, missing: int) -> None:
    assert warned(image.file()[:-missing]) == {"truncated-pixels"}


@given(images, st.integers(1, 100))
def test_fewer_frames_than_stated_are_warned_of(image: Image, missing: int) -> None:
    assert warned(image.file(stated=image.frames + missing)) == {"truncated-pixels"}


@given(natives)
def test_more_native_pixels_than_stated_are_warned_of(image: Image) -> None:
    assert warned(image.file(stated=image.frames - 1)) == {"surplus-pixels"}


def with_fragments(image: Image, *fragments: bytes, table: bytes = b"") -> bytes:
    """Return the image's file with these items in place of its own, the last one's padding not added."""
    whole = image.file()
    start = whole.index(struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)) + 12
    return whole[:start] + item(table) + b"".join(map(item, fragments)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@given(encapsulated, st.data())
def test_an_empty_fragment_is_warned_of_wherever_it_is(image: Image, data: st.DataObject) -> None:
    fragments = [image.frame] * image.frames
    fragments.insert(data.draw(st.integers(0, image.frames)), b"")

    assert "odd-fragments" in warned(with_fragments(image, *fragments))
    assert "odd-fragments" in warned(with_fragments(image, *[b""] * image.frames))


@given(encapsulated)
def test_encapsulated_pixels_without_any_item_are_warned_of(image: Image) -> None:
    empty = with_fragments(image).replace(item() + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), b"")

    assert warned(empty + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)) == {"odd-fragments"}


@given(encapsulated, st.data())
def test_an_offset_that_leads_to_no_fragment_is_warned_of(image: Image, data: st.DataObject) -> None:
    size = len(image.frame) + len(image.frame) % 2 + 8
    fragments = [image.frame + b"\0" * (len(image.frame) % 2)] * image.frames
    offsets = [size * number for number in range(image.frames)]
    good = with_fragments(image, *fragments, table=struct.pack(f"<{len(offsets)}I", *offsets))
    number = data.draw(st.integers(0, image.frames - 1))
    offsets[number] += data.draw(st.one_of(st.integers(1, size - 1), st.integers(size * image.frames, 1 << 30)))

    assert warned(good) == set()
    assert warned(with_fragments(image, *fragments, table=struct.pack(f"<{len(offsets)}I", *offsets))) == {
        "odd-fragments"
    }


@given(encapsulated)
def test_a_fragment_of_odd_length_is_warned_of(image: Image) -> None:
    odd = image.frame + b"\0" * (1 - len(image.frame) % 2)

    assert warned(with_fragments(image, *[odd] * image.frames)) == {"odd-length"}


@given(encapsulated)
def test_an_offset_table_for_more_frames_than_stated_is_warned_of(image: Image) -> None:
    assert warned(image.file(stated=image.frames - 1)) == {"odd-fragments"}


@given(natives, st.integers(1, 64))
def test_packed_bits_of_fewer_frames_than_stated_are_warned_of(image: Image, missing: int) -> None:
    packed = image.file(BitsAllocated=1, BitsStored=1, HighBit=0)

    # Twelve bytes are stored for each frame of six bits: they are too many until sixteen times as many frames are stated.
    assert warned(packed) == {"surplus-pixels"}
    stated = 16 * image.frames
    assert warned(image.file(stated, BitsAllocated=1, BitsStored=1, HighBit=0)) == set()
    assert warned(image.file(stated + missing, BitsAllocated=1, BitsStored=1, HighBit=0)) == {"truncated-pixels"}


@given(natives)
def test_an_image_without_pixels_is_warned_of(image: Image) -> None:
    whole = image.file()
    pixels = written(image, 0x7FE00010, "OW", bytes(12 * image.frames))[:8]

    assert warned(whole[: whole.rindex(pixels[:4])]) == {"missing-pixels"}


FOREIGN = st.sampled_from((0x00000000, 0x00000002, 0x00020010, 0x00020100, 0x00041130, 0x00060010))


@given(natives, FOREIGN)
def test_a_data_set_that_begins_with_a_command_or_another_files_meta_is_warned_of(image: Image, tag: int) -> None:
    whole = image.file()
    foreign = written(image, tag, "UI", b"1.23")
    data_set = foreign + whole[split_part10(whole).prefix_length :]

    assert set(examine(data_set, image.syntax, 0).warnings) == {"foreign-group"}


@given(natives, st.sampled_from((0x00280002, 0x00280010, 0x00280011, 0x00280100)), st.integers(2, 8))
def test_a_number_of_wrong_length_is_read_as_its_first_value_and_warned_of(image: Image, tag: int, values: int) -> None:
    whole, number = image.file(), {0x00280002: 1, 0x00280010: 2, 0x00280011: 3, 0x00280100: 16}[tag]
    right, wrong = (written(image, tag, "US", struct.pack("<H", number) * size) for size in (1, values))
    assert whole.count(right) == 1

    assert warned(whole.replace(right, wrong)) == {"number-length"}


# A tag that is no fact and no part of the pixels, for each VR of numbers.
NUMBERS = {
    "US": 0x00181310,
    "SS": 0x00189219,
    "UL": 0x00186016,
    "SL": 0x00700052,
    "UV": 0x0008040C,
    "SV": 0x00720082,
    "FL": 0x00089459,
    "FD": 0x00189087,
    "AT": 0x00280009,
    "OF": 0x00660016,
    "OL": 0x00660040,
    "OD": 0x00660022,
    "OV": 0x00720081,
}
UID_ELEMENTS = {0x00080016: b"1.2.3\0", 0x00080018: b"1.2.4\0", 0x0020000D: b"1.25", 0x0020000E: b"1.26"}
# Transfer syntax, byte order.
WRITTEN = ((ExplicitVRLittleEndian, "<"), (ExplicitVRBigEndian, ">"), (ImplicitVRLittleEndian, "<"))


def with_number(syntax: str, order: str, vr: str, value: bytes) -> bytes:
    """Return a data set of the four UIDs and an element of a number's VR."""
    elements = {tag: ("UI", uid) for tag, uid in UID_ELEMENTS.items()} | {NUMBERS[vr]: (vr, value)}
    return b"".join(_written(syntax, order, tag, *elements[tag]) for tag in sorted(elements))


def _written(syntax: str, order: str, tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == ImplicitVRLittleEndian:
        return head + struct.pack("<I", len(value)) + value
    form = f"{order}2sxxI" if vr in LONG_VRS else f"{order}2sH"
    return head + struct.pack(form, vr.encode(), len(value)) + value


@given(st.sampled_from(WRITTEN), st.sampled_from(sorted(NUMBERS)), st.integers(0, 60))
def test_a_number_whose_length_is_no_multiple_of_its_values_size_is_warned_of_in_every_encoding(
    written: tuple[str, str], vr: str, length: int
) -> None:
    examination = examine(with_number(*written, vr, bytes(length)), written[0], 0)

    expected = {"number-length"} if length % VALUE_BYTES[vr] else set()
    assert set(examination.warnings) == expected | ({"odd-length"} if length % 2 else set())


@given(st.integers(1025, 5000))
def test_a_text_that_queries_answer_cut_short_is_warned_of(length: int) -> None:
    text, warnings = read_fact("study_description", b"x" * length)

    assert text == "x" * 1024
    assert of_stored(warnings).code == 0xB007
