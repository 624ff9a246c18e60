"""Laws of reading any bytes: an examination or Rejected, the same for every buffer, bounded and storable."""

import mmap
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import charset

from operators.dicom.frames import MAX_LENGTHS_BYTES, frame_bytes, frame_range, move_frames, pack, unpack
from operators.dicom.instance import WANTED, Examination, examine
from operators.dicom.part10 import split_part10
from operators.dicom.reasons import Reason
from operators.dicom.scan import EXPLICIT_LITTLE, LIMITS, Buffer, _Scan
from operators.dicom.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.errors import Rejected
from operators.pieces import finished
from schemas.events import Frames
from tests.fuzz.parsers.data_sets import is_storable
from tests.support.data.elements import (
    CODE,
    ITEM_END,
    NATIVE,
    OPEN,
    SEQUENCE_END,
    SEQUENCES,
    STUDY_TO_PRIVATE,
    element,
    item,
)
from tests.support.data.small_instances import ELEMENTS

JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, JPEG, *sorted(DEFLATED))
REASONS = {reason.value for reason in Reason}

# A data set with a bit of everything: sequences open and defined, nested, UN, a private block, encapsulated pixels.
REAL = (
    element(0x00080005, "CS", b"ISO_IR 192")
    + element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    + element(0x00080018, "UI", b"1.2.3.4.5\0")
    + element(0x00080060, "CS", b"CT")
    + SEQUENCES
    + element(0x00100010, "PN", "Jérôme^王".encode())
    + STUDY_TO_PRIVATE
    + element(0x00291010, "UN", item(struct.pack("<HHI", 8, 0x100, 4) + b"CODE" + ITEM_END, OPEN) + SEQUENCE_END, OPEN)
    + element(0x00291011, "OB", bytes(1_200))
    + element(0x00291012, "SQ", item(CODE * 40) * 2)
)
ENCAPSULATED = element(0x7FE00010, "OB", item(b"") + item(b"ab\xff\xd9") * 3 + SEQUENCE_END, OPEN)
WHOLES = {JPEG: REAL + ENCAPSULATED, EXPLICIT_VR_LITTLE_ENDIAN: REAL + NATIVE}

LENGTHS = st.sampled_from([0, 1, 2, 0xFE, 0xFFFF, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a real data set with some bytes overwritten, taken out, put in or cut off."""
    transfer_syntax = draw(st.sampled_from(sorted(WHOLES)))
    data = bytearray(WHOLES[transfer_syntax])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["overwrite", "insert", "delete", "cut", "length"]))
        few = draw(st.binary(min_size=1, max_size=12))
        if change == "overwrite":
            data[at : at + len(few)] = few
        elif change == "insert":
            data[at:at] = few
        elif change == "delete":
            del data[at : at + len(few)]
        elif change == "cut":
            del data[at:]
        else:
            data[at : at + 4] = struct.pack("<I", draw(LENGTHS))
    return transfer_syntax, bytes(data)


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the reason of its rejection."""
    try:
        return call()
    except Rejected as rejected:
        return rejected.reason


def read(buffer: Buffer, transfer_syntax: str) -> Examination | str:
    result: Examination | str = outcome(lambda: examine(buffer, transfer_syntax, 100))
    return result


def is_bounded(result: Examination | str, size: int) -> bool:
    """True if an event may carry a result: a known reason, or storable texts and frames within the object."""
    if isinstance(result, str):
        return result in REASONS
    texts = [value for value in vars(result.facts).values() if isinstance(value, str)]
    frames = result.frames
    listed = range(1, frames.count + 1) if frames.kind in {"native", "encapsulated"} else ()
    return (
        all(is_storable(text) for text in texts)
        and len(frames.lengths) <= MAX_LENGTHS_BYTES
        and result.header_length <= 100 + size
        and all(result.header_length <= frame_range(frames, number)[0] for number in listed)
        and all(frame_range(frames, number)[1] <= 100 + size for number in listed)
    )


def test_the_unchanged_data_sets_are_read_without_a_warning() -> None:
    results = [read(data, transfer_syntax) for transfer_syntax, data in WHOLES.items()]

    assert [result.frames.count for result in results if isinstance(result, Examination)] == [3, 3]
    assert [result.warnings for result in results if isinstance(result, Examination)] == [(), ()]


@given(data=st.binary(max_size=400), transfer_syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_are_read_or_refused(data: bytes, transfer_syntax: str) -> None:
    assert is_bounded(read(data, transfer_syntax), len(data))


@given(case=mutated())
def test_any_change_of_a_real_data_set_is_read_or_refused(case: tuple[str, bytes]) -> None:
    transfer_syntax, data = case

    assert is_bounded(read(data, transfer_syntax), len(data))


@given(case=mutated(), other=st.sampled_from(SYNTAXES))
def test_any_data_set_under_any_syntax_is_read_or_refused(case: tuple[str, bytes], other: str) -> None:
    assert is_bounded(read(case[1], other), len(case[1]))


# Those near the end of the header are few of all cuts.
CUTS = st.integers(len(REAL), len(REAL) + 12) | st.integers(0, len(WHOLES[JPEG]))


@given(cut=CUTS, transfer_syntax=st.sampled_from(sorted(WHOLES)))
def test_a_cut_in_the_header_never_gives_another_instance(cut: int, transfer_syntax: str) -> None:
    whole, result = WHOLES[transfer_syntax], read(WHOLES[transfer_syntax][:cut], transfer_syntax)

    if cut >= len(REAL) + 12:
        assert isinstance(result, Examination)
        assert replace(result, frames=Frames(), warnings=()) == replace(
            examine(whole, transfer_syntax, 100), frames=Frames(), warnings=()
        )
    elif cut > len(REAL):
        # The head of the pixel data's element is cut.
        assert result == "truncated-header"


@given(case=mutated())
def test_every_kind_of_buffer_gives_the_same_examination(case: tuple[str, bytes]) -> None:
    transfer_syntax, data = case
    mapped = mmap.mmap(-1, max(len(data), 1))
    mapped.write(data)
    buffers: list[Buffer] = [bytearray(data), memoryview(data), memoryview(mapped)[: len(data)]]

    assert [read(buffer, transfer_syntax) for buffer in buffers] == [read(data, transfer_syntax)] * 3


@given(case=mutated())
def test_jumping_over_small_sequences_changes_nothing(case: tuple[str, bytes]) -> None:
    def scanned(small_bytes: int) -> tuple[object, ...]:
        found = _Scan(case[1], EXPLICIT_LITTLE, WANTED, LIMITS, small_bytes)
        end = finished(found.walk())
        return (end, found.values, found.pixels)

    assert outcome(lambda: scanned(LIMITS.small_bytes)) == outcome(lambda: scanned(0))


@given(data=st.binary(max_size=300), has_magic=st.booleans())
def test_any_bytes_are_split_or_refused(data: bytes, *, has_magic: bool) -> None:
    whole = bytes(128) + b"DICM" + data if has_magic else data
    result = outcome(lambda: split_part10(whole))

    assert result in REASONS or 132 <= result.prefix_length <= len(whole)


@given(
    raw=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    terms=st.lists(st.sampled_from(sorted(charset.python_encoding)) | st.text(max_size=10), max_size=3),
    name=st.sampled_from(sorted(name for name, (_, vr) in ELEMENTS.items() if vr != "US")),
)
def test_any_text_under_any_character_set_is_storable(raw: bytes, terms: list[str], name: str) -> None:
    character_set = "\\".join(terms).encode("utf-8", "replace")
    tag, vr = ELEMENTS[name]
    data = element(0x00080005, "CS", character_set) + REAL[18:] + element(tag, vr, raw)
    result = read(data, EXPLICIT_VR_LITTLE_ENDIAN)

    assert isinstance(result, Examination)
    assert is_bounded(result, len(data))


@given(text=st.text(st.characters(exclude_characters="\\\0 \x1b", exclude_categories=["Cs"]), max_size=40))
def test_any_unicode_text_is_read_as_it_was_written(text: str) -> None:
    result = read(REAL + element(0x00100010, "PN", text.encode()), EXPLICIT_VR_LITTLE_ENDIAN)

    assert isinstance(result, Examination)
    assert result.facts.patient_name == text


NUMBERS = st.integers(0, 2**62)


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number % 0x80 | 0x80)
        number >>= 7
    return bytes([*out, number])


LISTS = st.lists(st.integers(8, 2**40), max_size=50)
FRAMES = st.one_of(
    st.just(Frames()),
    st.builds(Frames, kind=st.just("unlisted"), count=st.integers(0, 2**31 - 1)),
    st.builds(Frames, kind=st.just("native"), offset=NUMBERS, length=NUMBERS, count=st.integers(0, 2**31 - 1)),
    st.builds(
        lambda offset, sizes: Frames(
            kind="encapsulated", offset=offset, count=len(sizes), lengths=b"".join(varint(size) for size in sizes)
        ),
        NUMBERS,
        LISTS,
    ),
)


@given(frames=FRAMES)
def test_packed_frames_unpack_to_themselves(frames: Frames) -> None:
    assert unpack(pack(frames)) == frames


@given(packed=st.binary(max_size=40))
def test_any_bytes_are_unpacked_to_frames_that_pack_to_them_or_refused(packed: bytes) -> None:
    try:
        frames = unpack(packed)
    except ValueError:
        return
    assert pack(frames) == packed


@given(offset=NUMBERS, sizes=LISTS, difference=st.integers(0, 2**40))
def test_frames_follow_each_other_and_move_together(offset: int, sizes: list[int], difference: int) -> None:
    lengths = b"".join(varint(size) for size in sizes)
    frames = Frames(kind="encapsulated", offset=offset, count=len(sizes), lengths=lengths)
    ranges = [frame_range(frames, number) for number in range(1, len(sizes) + 1)]
    moved = move_frames(frames, difference)

    assert [end - start for start, end in ranges] == sizes
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert [frame_range(moved, number) for number in range(1, len(sizes) + 1)] == [
        (start + difference, end + difference) for start, end in ranges
    ]
    assert move_frames(moved, -difference) == frames


@given(fragments=st.lists(st.binary(max_size=20), max_size=6))
def test_a_frame_is_its_fragments_joined(fragments: list[bytes]) -> None:
    assert frame_bytes(b"".join(item(fragment) for fragment in fragments)) == b"".join(fragments)


@given(junk=st.binary(max_size=60))
def test_any_range_is_a_frame_or_refused(junk: bytes) -> None:
    result = outcome(lambda: frame_bytes(junk))

    assert result == "bad-frame" or len(result) <= len(junk)


@pytest.mark.parametrize("number", [0, 2])
def test_a_number_outside_the_listed_frames_is_refused(number: int) -> None:
    with pytest.raises(Rejected, match="no-such-frame"):
        frame_range(Frames(kind="encapsulated", offset=0, count=1, lengths=b"\x09"), number)
