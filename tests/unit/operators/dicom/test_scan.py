"""The header scan: pydicom is the oracle over the corpus, and each limit is met, then exceeded by one."""

import io
import mmap
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import _at_pixel_data, read_dataset

from operators.dicom.instance import WANTED
from operators.dicom.part10 import split_part10
from operators.dicom.reasons import Oddity
from operators.dicom.scan import LIMITS, READ_SEQUENCES, Buffer, Header, scan
from operators.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.errors import Rejected
from tests.support.data.elements import ITEM_END, SEQUENCE_END, element

ROOT = Path(__file__).parents[4]
DEFLATED = "1.2.840.10008.1.2.1.99"

# The differences from pydicom, each one reviewed: (file, difference).
REVIEWED = {
    # 200 nested sequences: pydicom ends at Python's recursion limit, we end at our own.
    ("synthetic/nest_200.dcm", "too-deep"),
    # The last element is longer than the file; pydicom keeps the short value, here the data set is truncated.
    ("sop/pydicom/rtplan_truncated.dcm", "truncated-header"),
}


def files(corpus: Path) -> list[Path]:
    return sorted(
        path
        for path in corpus.rglob("*")
        if path.is_file() and path.suffix != ".md" and "LICENSES" not in path.relative_to(corpus).parts
    )


def parts(corpus: Path) -> Iterator[tuple[str, bytes, str]]:
    """Return name, data set and transfer syntax of every file that has file meta."""
    for path in files(corpus):
        whole = path.read_bytes()
        try:
            part10 = split_part10(whole)
        except Rejected:
            continue
        yield str(path.relative_to(corpus)), whole[part10.prefix_length :], part10.transfer_syntax


def read_by_pydicom(data: bytes, transfer_syntax: str) -> tuple[int, dict[int, bytes]]:
    """Return where pydicom sees Pixel Data or the end, and the wanted values' bytes."""
    stream = io.BytesIO(zlib.decompress(data, -zlib.MAX_WBITS) if transfer_syntax == DEFLATED else data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dataset(
            stream,
            is_implicit_VR=transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN,
            is_little_endian=transfer_syntax != EXPLICIT_VR_BIG_ENDIAN,
            stop_when=_at_pixel_data,
        )
    raw = {int(tag): dataset.get_item(tag).value or b"" for tag in dataset.keys() & WANTED}
    return stream.tell(), raw


def tag_and_length(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


OPEN_ITEM = tag_and_length(0xFFFEE000, 0xFFFFFFFF)
OPEN_SEQUENCE = struct.pack("<HH2sxxI", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF)
OPEN_IMPLICIT_SEQUENCE = tag_and_length(0x0040A730, 0xFFFFFFFF)
STUDY = element(0x0020000D, "UI", b"1.2.3\0")
PIXELS = element(0x7FE00010, "OW", b"\1\2\3\4")


def open_nesting(depth: int) -> bytes:
    return (OPEN_SEQUENCE + OPEN_ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth


def implicit_nesting(depth: int) -> bytes:
    return (OPEN_IMPLICIT_SEQUENCE + OPEN_ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth


def defined_nesting(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = element(0x0040A730, "SQ", tag_and_length(0xFFFEE000, len(inner)) + inner)
    return inner


def hidden_nesting(depth: int) -> bytes:
    """Return a nesting inside a private UN of defined length; only its first bytes show that it is a sequence."""
    inner = implicit_nesting(depth - 1)
    return element(0x00291010, "UN", tag_and_length(0xFFFEE000, len(inner)) + inner)


def scan_wanted(data: bytes, transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Header:
    return scan(data, transfer_syntax, WANTED)


def reason_of(data: bytes, transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> str | None:
    try:
        scan_wanted(data, transfer_syntax)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_the_corpus_is_complete(corpus: Path) -> None:
    names = files(corpus)

    assert len(names) == 584


def test_header_end_and_raw_values_are_those_of_pydicom(corpus: Path) -> None:
    differences = set()
    for name, data, transfer_syntax in parts(corpus):
        try:
            header = scan_wanted(data, transfer_syntax)
        except Rejected as rejected:
            differences.add((name, rejected.reason))
            continue
        end, raw = read_by_pydicom(data, transfer_syntax)
        if header.end != end:
            differences.add((name, "end"))
        differences |= {(name, f"{tag:08x}") for tag in WANTED - READ_SEQUENCES if header.raw(tag) != raw.get(tag)}

    assert differences == REVIEWED


def test_every_file_is_scanned_within_a_second(corpus: Path) -> None:
    slow = []
    for name, data, transfer_syntax in parts(corpus):
        began = time.process_time()
        reason_of(data, transfer_syntax)
        if time.process_time() - began > 1:
            slow.append(name)

    assert not slow


@pytest.mark.parametrize("nesting", [open_nesting, defined_nesting, hidden_nesting])
def test_64_levels_are_read_and_65_are_refused(nesting: Callable[[int], bytes]) -> None:
    at_limit, over = (reason_of(nesting(depth) + PIXELS) for depth in (LIMITS.depth, LIMITS.depth + 1))

    assert (at_limit, over) == (None, "too-deep")


def test_the_limit_of_depth_holds_without_vrs_too() -> None:
    at_limit, over = (
        reason_of(implicit_nesting(depth), IMPLICIT_VR_LITTLE_ENDIAN) for depth in (LIMITS.depth, LIMITS.depth + 1)
    )

    assert (at_limit, over) == (None, "too-deep")


@pytest.mark.parametrize("is_open", [True, False])
def test_100000_items_are_read_and_one_more_is_refused(is_open: bool) -> None:  # noqa: FBT001
    def reason(items: int) -> str | None:
        value = tag_and_length(0xFFFEE000, 0) * items
        sequence = OPEN_SEQUENCE + value + SEQUENCE_END if is_open else element(0x0040A730, "SQ", value)
        return reason_of(sequence + PIXELS)

    assert (reason(LIMITS.items), reason(LIMITS.items + 1)) == (None, "too-many-items")


def test_items_of_many_small_sequences_count_together() -> None:
    sequence = element(0x0040A730, "SQ", tag_and_length(0xFFFEE000, 0) * 100)
    at_limit, over = (reason_of(sequence * count) for count in (1_000, 1_001))

    assert (at_limit, over) == (None, "too-many-items")


def test_elements_count_over_all_levels() -> None:
    inside = element(0x00080070, "LO", b"") * 1_000
    sequence = element(0x0040A730, "SQ", tag_and_length(0xFFFEE000, len(inside)) + inside)
    at_limit, over = (
        reason_of(sequence * 199 + element(0x00080070, "LO", b"") * (LIMITS.elements - 199 * 1_001 + more))
        for more in (0, 1)
    )

    assert (at_limit, over) == (None, "too-many-elements")


def test_hostile_counts_are_refused_in_bounded_time() -> None:
    began = time.process_time()
    reason = reason_of(element(0x00080070, "LO", b"") * 4_000_000)

    assert reason == "too-many-elements"
    assert time.process_time() - began < 5


def test_a_deflate_bomb_is_refused_in_bounded_memory() -> None:
    # One flushed block of zeros repeated: 1 GiB from 1 MB, made without deflating 1 GiB here.
    script = """
import resource, zlib
resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
from operators.errors import Rejected
from operators.dicom.scan import scan
deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
block = deflate.compress(bytes(16 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
try:
    scan(block * 64 + deflate.flush(), "1.2.840.10008.1.2.1.99", frozenset())
except Rejected as rejected:
    print(rejected.reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout.strip(), done.stderr) == ("too-inflated", "")


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def test_a_deflated_data_set_reads_as_the_inflated_one() -> None:
    header = scan_wanted(deflated(STUDY + PIXELS) + b"\0", DEFLATED)

    assert (header.is_deflated, header.end, header.raw(0x0020000D)) == (True, len(STUDY), b"1.2.3\0")
    assert not header.oddities


def test_a_deflated_data_set_cut_in_its_pixels_is_odd_and_cut_in_its_header_is_refused() -> None:
    whole = deflated(STUDY + element(0x7FE00010, "OB", random.Random(1).randbytes(8_000)))
    header = scan_wanted(whole[:-8], DEFLATED)

    assert header.oddities == {Oddity.TRUNCATED_PIXELS}
    assert reason_of(whole[:16], DEFLATED) == "truncated-header"
    assert reason_of(b"\xff\xff\xff", DEFLATED) == "bad-deflate"


# The bytes before Pixel Data, and the reason of the rejection.
ILL_FORMED = {
    "a value longer than the bytes": (element(0x00100010, "PN", b"A^B ")[:-2], "truncated-header"),
    "a long value longer than the bytes": (
        tag_and_length(0x00100010, 0x20000)[:4] + b"UT\0\0\xff\xff\xff\x7f",
        "truncated-header",
    ),
    "half a header": (STUDY + PIXELS[:10], "truncated-header"),
    "a sequence without its end": (OPEN_SEQUENCE + OPEN_ITEM + STUDY, "truncated-header"),
    "a sequence of elements": (OPEN_SEQUENCE + STUDY + SEQUENCE_END, "bad-sequence"),
    "an item longer than the bytes": (OPEN_SEQUENCE + tag_and_length(0xFFFEE000, 99), "truncated-header"),
}


@pytest.mark.parametrize("claim", ILL_FORMED)
def test_an_ill_formed_header_is_refused_with_its_reason(claim: str) -> None:
    data, reason = ILL_FORMED[claim]

    assert reason_of(data) == reason


ODD = {
    "an odd length": (element(0x00080070, "LO", b"odd"), Oddity.ODD_LENGTH),
    "an unknown VR": (element(0x00080070, "ZZ", b"ZZ"), Oddity.UNEXPECTED_VR),
    "an implicit element": (tag_and_length(0x00080070, 2) + b"ok", Oddity.OTHER_VR_ENCODING),
    "a stray item delimiter": (ITEM_END, Oddity.STRAY_DELIMITER),
    "a stray sequence delimiter": (SEQUENCE_END, Oddity.STRAY_DELIMITER),
}


@pytest.mark.parametrize("claim", ODD)
def test_an_odd_element_is_read_with_a_warning(claim: str) -> None:
    data, oddity = ODD[claim]
    header = scan_wanted(STUDY + data + PIXELS)

    assert header.oddities == {oddity}
    assert header.end == len(STUDY + data)


def test_truncated_pixels_are_a_warning() -> None:
    header = scan_wanted(STUDY + PIXELS[:-1])

    assert header.oddities == {Oddity.TRUNCATED_PIXELS}
    assert header.end == len(STUDY)


def test_pixels_of_odd_length_are_a_warning() -> None:
    header = scan_wanted(STUDY + element(0x7FE00010, "OB", b"123"))

    assert header.oddities == {Oddity.ODD_LENGTH}


@pytest.mark.parametrize("padding", [b"\0\0\0", b"  ", b"\0" * 7])
def test_a_little_padding_after_the_last_element_is_a_warning(padding: bytes) -> None:
    header = scan_wanted(STUDY + padding)

    assert header.oddities == {Oddity.TRAILING_BYTES}


@pytest.mark.parametrize("length", range(1, 8))
def test_a_data_set_that_ends_in_the_head_of_an_element_is_cut_short(length: int) -> None:
    """A cut file must not be shown in the place of the whole one."""
    following = element(0x00280010, "US", b"\0\1")

    with pytest.raises(Rejected, match="truncated-header"):
        scan_wanted(STUDY + following[:length])


def test_the_last_of_two_values_counts_as_in_pydicom() -> None:
    header = scan_wanted(STUDY + element(0x0020000D, "UI", b"1.2.4\0"))

    assert header.raw(0x0020000D) == b"1.2.4\0"


def test_pixels_and_uids_inside_a_sequence_are_not_the_data_sets_own() -> None:
    nested = OPEN_SEQUENCE + OPEN_ITEM + element(0x0020000D, "UI", b"9.9") + PIXELS + ITEM_END + SEQUENCE_END
    header = scan_wanted(STUDY + nested + PIXELS)

    assert header.end == len(STUDY + nested)
    assert header.raw(0x0020000D) == b"1.2.3\0"


def test_nested_encapsulated_pixels_are_jumped_over() -> None:
    icon = struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + tag_and_length(0xFFFEE000, 4) + OPEN_ITEM[:4]
    nested = OPEN_SEQUENCE + OPEN_ITEM + icon + SEQUENCE_END + ITEM_END + SEQUENCE_END
    header = scan_wanted(nested + STUDY + PIXELS)

    assert header.end == len(nested + STUDY)


def test_an_ill_formed_item_of_defined_length_is_jumped_over() -> None:
    inside = b"\xff" * 2_000
    nested = OPEN_SEQUENCE + tag_and_length(0xFFFEE000, len(inside)) + inside + SEQUENCE_END
    header = scan_wanted(nested + STUDY + PIXELS)

    assert header.raw(0x0020000D) == b"1.2.3\0"


def test_un_of_undefined_length_is_read_as_implicit() -> None:
    inside = OPEN_ITEM + tag_and_length(0x0020000D, 4) + b"9.9\0" + ITEM_END + SEQUENCE_END
    nested = struct.pack("<HH2sxxI", 0x0029, 0x1010, b"UN", 0xFFFFFFFF) + inside
    header = scan_wanted(nested + STUDY + PIXELS)

    assert (header.end, header.oddities) == (len(nested + STUDY), frozenset())


def test_un_in_big_endian_is_read_as_little_endian() -> None:
    inside = OPEN_ITEM + tag_and_length(0x0020000D, 4) + b"9.9\0" + ITEM_END + SEQUENCE_END
    nested = struct.pack(">HH2sxxI", 0x0029, 0x1010, b"UN", 0xFFFFFFFF) + inside
    study = struct.pack(">HH2sH", 0x0020, 0x000D, b"UI", 6) + b"1.2.3\0"
    header = scan_wanted(nested + study, EXPLICIT_VR_BIG_ENDIAN)

    assert header.raw(0x0020000D) == b"1.2.3\0"


def test_a_wrongly_declared_vr_encoding_is_recognised() -> None:
    explicit_as_implicit = scan_wanted(STUDY, IMPLICIT_VR_LITTLE_ENDIAN)
    implicit_as_explicit = scan_wanted(tag_and_length(0x0020000D, 6) + b"1.2.3\0")

    for header in (explicit_as_implicit, implicit_as_explicit):
        assert header.raw(0x0020000D) == b"1.2.3\0"
        assert header.oddities == {Oddity.OTHER_VR_ENCODING}


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009, 0x7FE00010])
def test_each_kind_of_pixel_data_ends_the_header(tag: int) -> None:
    header = scan_wanted(STUDY + element(tag, "OW", b"12345678"))

    assert header.end == len(STUDY)
    assert header.pixels
    assert (header.pixels.tag, header.pixels.start, header.pixels.length) == (tag, len(STUDY) + 12, 8)


def test_every_kind_of_buffer_reads_the_same(corpus: Path) -> None:
    path = corpus / "odd/fuzz/baseline__BASELINE_valid_ct.dcm"
    part10 = split_part10(path.read_bytes())
    data = path.read_bytes()[part10.prefix_length :]
    anonymous = mmap.mmap(-1, len(data))
    anonymous.write(data)
    buffers: list[Buffer] = [data, bytearray(data), memoryview(data), anonymous]
    headers = [scan(buffer, part10.transfer_syntax, WANTED) for buffer in buffers]

    assert all((h.end, h.values, h.pixels) == (headers[0].end, headers[0].values, headers[0].pixels) for h in headers)
    assert pydicom.dcmread(path).StudyInstanceUID.encode() == (headers[3].raw(0x0020000D) or b"").rstrip(b"\0")
