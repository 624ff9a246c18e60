"""Where frames lie: pydicom is the oracle over the corpus, and each way of finding frames has its cases."""

import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.utils import get_expected_length

from operators.dicom.frames import (
    MAX_FRAGMENTS,
    MAX_LENGTHS_BYTES,
    Located,
    Shape,
    frame_bytes,
    frame_range,
    listed_frames,
    locating,
    move_frames,
    pack,
    unpack,
)
from operators.dicom.instance import WANTED, examine
from operators.dicom.part10 import split_part10
from operators.dicom.reasons import Oddity
from operators.dicom.scan import scan
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from operators.pieces import finished
from schemas.events import Frames

JPEG = "1.2.840.10008.1.2.4.50"
FRAMES = [b"\xff\xd8first.\xff\xd9", b"\xff\xd8the second one\xff\xd9", b"\xff\xd8third.\xff\xd9"]
STARTS = (0, 18, 44)
ONE_BYTE = Shape(rows=1, columns=4, samples=1, bits_allocated=8, photometric_interpretation="MONOCHROME2", count=1)
BASE = 100
SAME_IMAGE = "ts-same-image/cornerstone3D"

# The differences from pydicom, each one reviewed: (file, our kind, pydicom's count).
REVIEWED = {
    # Frames of single bits that begin within a byte have to be unpacked.
    ("odd/pydicom-data/liver_nonbyte_aligned.dcm", "unlisted", 3),
    ("sop/highdicom/seg_image_sm_control.dcm", "unlisted", 20),
    ("sop/highdicom/seg_image_sm_dots.dcm", "unlisted", 62),
    ("sop/highdicom/seg_image_sm_dots_tiled_full.dcm", "unlisted", 1250),
    ("sop/highdicom/seg_image_sm_numbers.dcm", "unlisted", 20),
    # 27 bytes in 16-bit words, big-endian: the last sample is in the padding's place, so the frame includes it.
    ("ts/pydicom/SC_rgb_small_odd_big_endian.dcm", "native", 1),
    # Deflated: no range of the object is a frame.
    ("ts/pydicom/image_dfl.dcm", "unlisted", 1),
    (
        f"{SAME_IMAGE}/CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
        "unlisted",
        1,
    ),
    # One fragment of video holds all 25 frames; pydicom takes it for one.
    ("synthetic/video_h264.dcm", "unlisted", 1),
    # Bits Allocated of 0, 9 and 128: not readable, nine bits packed, and more than there are bytes.
    ("odd/fuzz/cat04_pixel_data__TC0305_bits_ba_zero.dcm", "unlisted", 1),
    ("odd/fuzz/cat04_pixel_data__TC0311_bits_ba_nine.dcm", "native", 1),
    ("odd/fuzz/cat04_pixel_data__TC0317_bits_ba_128.dcm", "native 0", 1),
    # Fewer bytes than a frame has: a native frame that is cut off is not listed.
    ("odd/fuzz/cat04_pixel_data__TC0293_buf_one_byte.dcm", "native 0", 1),
    ("odd/pydicom/MR_truncated.dcm", "native 0", 1),
    ("synthetic/truncated_pixels.dcm", "native 0", 1),
    # Two Pixel Data elements: pydicom keeps the last, here the first ends the header.
    ("odd/fuzz/cat04_pixel_data__TC0323_encap_zero_frag.dcm", "native", 1),
    # No Sequence Delimitation Item: pydicom drops the whole data set, here ten frames are read.
    ("sop/pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm", "encapsulated", 0),
    # Number of Frames is not a number.
    ("odd/pydicom/badVR.dcm", "native", 0),
}


def items(*values: bytes) -> bytes:
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in values)


def data_set(value: bytes, *, extended: bytes = b"", is_open: bool = True) -> bytes:
    """Return a data set of Extended Offset Table and encapsulated Pixel Data."""
    table = struct.pack("<HH2sxxI", 0x7FE0, 0x0001, b"OV", len(extended)) + extended if extended else b""
    length = 0xFFFFFFFF if is_open else len(value)
    return table + struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", length) + value


def found(data: bytes, count: int | None, transfer_syntax: str = JPEG) -> Located:
    shape = Shape(rows=1, columns=4, samples=1, bits_allocated=8, photometric_interpretation=None, count=count)
    return finished(locating(scan(data, transfer_syntax, WANTED), transfer_syntax, shape, BASE))


def frames_of(data: bytes, frames: Frames) -> list[bytes]:
    whole = bytes(BASE) + data
    ranges = [frame_range(frames, number) for number in range(1, frames.count + 1)]
    return [frame_bytes(whole[start:end]) for start, end in ranges]


END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
OFFSETS = struct.pack("<3I", *STARTS)


def by_pydicom(path: Path) -> list[bytes]:
    """Return each frame's bytes as pydicom finds them; none when it cannot."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.get("PixelData") or dataset.get("FloatPixelData") or dataset.get("DoubleFloatPixelData")
    if pixels is None:
        return []
    count = dataset.get("NumberOfFrames", 1) or 1
    if not isinstance(count, int):
        return []
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        tables = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
        return list(generate_frames(pixels, number_of_frames=count, extended_offsets=tables if all(tables) else None))
    length = get_expected_length(dataset) // count
    return [pixels[number * length : (number + 1) * length] for number in range(count)]


def examined(corpus: Path) -> Iterator[tuple[str, Path, bytes, Frames]]:
    for path in sorted(corpus.rglob("*")):
        if not path.is_file() or path.suffix == ".md" or "LICENSES" in path.parts:
            continue
        whole = path.read_bytes()
        try:
            part10 = split_part10(whole)
            frames = examine(whole[part10.prefix_length :], part10.transfer_syntax, part10.prefix_length).frames
        except Rejected:
            continue
        yield str(path.relative_to(corpus)), path, whole, frames


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_frame_of_the_corpus_has_the_bytes_that_pydicom_gives(corpus: Path) -> None:
    differences, same = set(), 0
    for name, path, whole, frames in examined(corpus):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = by_pydicom(path)
        listed = frames.kind in {"native", "encapsulated"}
        ours = [whole[slice(*frame_range(frames, n))] for n in range(1, frames.count + 1)] if listed else []
        if frames.kind == "encapsulated":
            ours = [frame_bytes(item) for item in ours]
        if ours != theirs:
            empty = frames.kind == "native" and not frames.count
            differences.add((name, "native 0" if empty else frames.kind, len(theirs)))
        same += len(ours)

    assert differences == REVIEWED
    assert same > 900


# How three frames may be written, and the value of Number of Frames.
WAYS = {
    "a basic offset table": (items(OFFSETS, *FRAMES) + END, b"", 3),
    "a basic offset table and no Number of Frames": (items(OFFSETS, *FRAMES) + END, b"", None),
    "a fragment each": (items(b"", *FRAMES) + END, b"", 3),
    "no sequence delimiter": (items(b"", *FRAMES), b"", 3),
    "bytes after the delimiter": (items(b"", *FRAMES) + END + b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", b"", 3),
    "a wrong basic offset table": (items(struct.pack("<3I", 0, 7, 9), *FRAMES) + END, b"", 3),
    "a falling basic offset table": (items(struct.pack("<3I", 0, 44, 18), *FRAMES) + END, b"", 3),
    "a short basic offset table": (items(struct.pack("<2I", 0, 18), *FRAMES) + END, b"", 3),
    "an extended offset table": (items(b"", *FRAMES) + END, struct.pack("<3Q", *STARTS), 3),
    "a wrong extended offset table": (items(OFFSETS, *FRAMES) + END, struct.pack("<3Q", 1, 2, 3), 3),
}


@pytest.mark.parametrize("way", WAYS)
def test_three_frames_are_found_however_they_are_written(way: str) -> None:
    value, extended, count = WAYS[way]
    data = data_set(value, extended=extended)
    frames = found(data, count).frames

    assert frames_of(data, frames) == FRAMES


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("fragments", [1, 2, 3])
def test_fragmented_frames_are_joined(*, has_table: bool, fragments: int) -> None:
    data = data_set(encapsulate(FRAMES, fragments_per_frame=fragments, has_bot=has_table) + END)
    frames = found(data, len(FRAMES)).frames

    assert frames_of(data, frames) == FRAMES


def test_pydicoms_extended_offset_table_is_read() -> None:
    value, offsets, _ = encapsulate_extended(FRAMES)
    data = data_set(value + END, extended=offsets)
    frames = found(data, len(FRAMES)).frames

    assert frames_of(data, frames) == FRAMES


def test_a_single_frame_has_all_fragments() -> None:
    data = data_set(items(b"", b"ab", b"cd", b"ef") + END)
    frames = found(data, None).frames

    assert frames_of(data, frames) == [b"abcdef"]


def test_frames_without_end_markers_are_found_by_start_markers() -> None:
    data = data_set(items(b"", b"\xff\xd8a", b"bb", b"\xff\xd8c") + END)
    frames = found(data, 2).frames

    assert frames_of(data, frames) == [b"\xff\xd8abb", b"\xff\xd8c"]


# Encapsulated pixels in which nothing reliable tells where frames begin.
NOT_LOCATABLE = {
    "more frames than fragments": items(b"", b"ab") + END,
    "fragments without markers": items(b"", b"ab", b"cd", b"ef", b"gh") + END,
    "no items": b"",
    "elements for items": struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 0),
}


@pytest.mark.parametrize("claim", NOT_LOCATABLE)
def test_frames_that_cannot_be_located_are_unlisted(claim: str) -> None:
    frames = found(data_set(NOT_LOCATABLE[claim]), 3).frames

    assert (frames.kind, frames.count, frames.lengths) == ("unlisted", 3, b"")


def test_an_offset_table_without_fragments_has_no_frames() -> None:
    frames = found(data_set(items(b"") + END), 1).frames

    assert (frames.kind, frames.count) == ("encapsulated", 0)


def test_a_fragment_cut_short_is_listed_as_far_as_it_goes_with_a_warning() -> None:
    data = data_set(items(b"", b"abcdefgh"))[:-3]
    located = found(data, 1)

    assert located.oddities == {Oddity.TRUNCATED_PIXELS}
    assert frames_of(data, located.frames) == [b"abcde"]


def test_pixel_data_of_defined_length_in_a_compressed_syntax_is_unlisted_and_odd() -> None:
    located = found(data_set(b"\xff\xd8....\xff\xd9", is_open=False), 1)

    assert located == Located(Frames(kind="unlisted", count=1), frozenset({Oddity.ODD_FRAGMENTS}))


def test_frames_whose_lengths_take_more_than_64_kib_are_unlisted() -> None:
    def kind(count: int) -> str:
        return found(data_set(items(b"", *[b"ab"] * count) + END), count).frames.kind

    assert (kind(MAX_LENGTHS_BYTES), kind(MAX_LENGTHS_BYTES + 1)) == ("encapsulated", "unlisted")


def test_frames_of_too_many_fragments_are_unlisted_without_a_warning() -> None:
    located = found(data_set(items(b"", *[b"ab"] * (MAX_FRAGMENTS + 1)) + END), 1)

    assert located == Located(Frames(kind="unlisted", count=1))


# Rows, columns, samples, bits allocated, photometric interpretation, frames, size in bytes: length and count listed.
NATIVE = {
    "one frame": ((4, 4, 1, 8, "MONOCHROME2", None, 16), (16, 1)),
    "padding": ((3, 3, 1, 8, "MONOCHROME2", None, 10), (9, 1)),
    "three frames": ((4, 4, 1, 16, "MONOCHROME2", 3, 96), (32, 3)),
    "three frames of which the last is cut off": ((4, 4, 1, 16, "MONOCHROME2", 3, 90), (32, 2)),
    "colour": ((4, 4, 3, 8, "RGB", 2, 96), (48, 2)),
    "halved chroma": ((4, 4, 3, 8, "YBR_FULL_422", 2, 64), (32, 2)),
    "halved chroma of a limited range": ((4, 4, 3, 8, "YBR_PARTIAL_422", 2, 64), (32, 2)),
    "no chroma to halve": ((4, 4, 1, 8, "YBR_FULL_422", 2, 32), (16, 2)),
    "bits that fill bytes": ((4, 4, 1, 1, "MONOCHROME2", 2, 4), (2, 2)),
    "one frame of bits": ((3, 3, 1, 1, "MONOCHROME2", 1, 2), (2, 1)),
    "floats": ((2, 2, 1, 32, "MONOCHROME2", 1, 16), (16, 1)),
}


@pytest.mark.parametrize("claim", NATIVE)
def test_native_frames_follow_from_the_images_shape(claim: str) -> None:
    (rows, columns, samples, bits, photometric, count, size), (length, there) = NATIVE[claim]
    data = data_set(bytes(size), is_open=False)
    header = scan(data, EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    shape = Shape(rows, columns, samples, bits, photometric, count)
    located = finished(locating(header, EXPLICIT_VR_LITTLE_ENDIAN, shape, BASE))

    assert located.frames == Frames(kind="native", offset=BASE + 12, length=length, count=there)
    assert located.oddities == ({Oddity.TRUNCATED_PIXELS} if there < (count or 1) else set())


@pytest.mark.parametrize(("syntax", "kind"), [(EXPLICIT_VR_LITTLE_ENDIAN, "unlisted"), (JPEG, "encapsulated")])
def test_a_row_with_encapsulated_frames_of_a_native_syntax_counts_as_unlisted(syntax: str, kind: str) -> None:
    row = pack(Frames(kind="encapsulated", offset=BASE, count=2, lengths=b"\x04\x04"))
    listed = listed_frames(row, syntax)

    assert (listed.kind, listed.count) == (kind, 2)


# Rows, columns, bits allocated, frames, size: the length listed and the number of frames, none if unlisted.
SWAPPED = {
    "words": ((4, 4, 16, 2, 64), (32, 2)),
    "bytes that fill words": ((3, 4, 8, 2, 24), (12, 2)),
    "one frame of an odd number of bytes": ((3, 3, 8, 1, 10), (10, 1)),
    "two frames of an odd number of bytes": ((3, 3, 8, 2, 18), None),
    "one frame of bits": ((3, 3, 1, 1, 2), (2, 1)),
    "two frames of bits that fill bytes and no words": ((4, 2, 1, 2, 2), None),
}


@pytest.mark.parametrize("claim", SWAPPED)
def test_big_endian_samples_in_words_are_listed_where_frames_are_whole_words(claim: str) -> None:
    (rows, columns, bits, count, size), wanted = SWAPPED[claim]
    data = b"\x7f\xe0\x00\x10OW\0\0" + size.to_bytes(4, "big") + bytes(size)
    header = scan(data, EXPLICIT_VR_BIG_ENDIAN, WANTED)
    shape = Shape(rows, columns, 1, bits, "MONOCHROME2", count)
    frames = finished(locating(header, EXPLICIT_VR_BIG_ENDIAN, shape, BASE)).frames

    assert (frames.kind, frames.length, frames.count) == (("native", *wanted) if wanted else ("unlisted", 0, count))


@pytest.mark.parametrize("field", ["rows", "columns", "bits_allocated"])
def test_native_frames_of_an_unknown_shape_are_unlisted(field: str) -> None:
    header = scan(data_set(bytes(4), is_open=False), EXPLICIT_VR_LITTLE_ENDIAN, WANTED)
    known = {"rows": 1, "columns": 4, "bits_allocated": 8, field: None}
    shape = Shape(samples=1, photometric_interpretation=None, count=1, **known)

    assert finished(locating(header, EXPLICIT_VR_LITTLE_ENDIAN, shape, BASE)).frames == Frames(kind="unlisted", count=1)


def test_a_data_set_without_pixel_data_has_no_frames() -> None:
    header = scan(b"", EXPLICIT_VR_LITTLE_ENDIAN, WANTED)

    assert finished(locating(header, EXPLICIT_VR_LITTLE_ENDIAN, ONE_BYTE, BASE)) == Located(Frames())


@pytest.mark.parametrize(
    "frames", [Frames(), Frames(kind="unlisted", count=3), Frames(kind="native", length=4, count=3)]
)
@pytest.mark.parametrize("number", [-1, 0, 4])
def test_a_frame_number_outside_the_frames_is_refused(frames: Frames, number: int) -> None:
    with pytest.raises(Rejected, match="no-such-frame"):
        frame_range(frames, number)


def test_frames_that_are_not_listed_have_no_range() -> None:
    with pytest.raises(Rejected, match="no-such-frame"):
        frame_range(Frames(kind="unlisted", count=3), 1)


@pytest.mark.parametrize("junk", [b"a", b"no item at all", items(b"ab") + b"\xfe\xff"])
def test_a_range_that_holds_no_frame_is_refused(junk: bytes) -> None:
    with pytest.raises(Rejected, match="bad-frame"):
        frame_bytes(junk)


def test_frames_move_with_their_data_set() -> None:
    native = Frames(kind="native", offset=100, length=4, count=2)
    unlisted = Frames(kind="unlisted", count=2)

    assert frame_range(move_frames(native, 38), 2) == (142, 146)
    assert move_frames(unlisted, 38) == unlisted


@pytest.mark.parametrize("junk", [b"", b"\1", b"\2\0\0\0\0", b"\1\4\0\0\0", b"\1\1\x80", b"\1\1\x80\0\0\0"])
def test_bytes_that_are_no_packed_frames_are_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"packed frames|cut short"):
        unpack(junk)


def test_the_packed_frames_of_a_ct_slice_take_8_bytes() -> None:
    packed = pack(Frames(kind="native", offset=5_000, length=524_288, count=1))

    assert len(packed) == 8
