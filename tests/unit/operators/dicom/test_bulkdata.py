"""Values found in windows of an object, frames of one-bit pixels, and streams of fragments."""

import asyncio
import struct
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dicom import bulkdata
from operators.dicom.bulkdata import BeyondWindow, ValueLocation, align, seek, stream_aligned, stream_fragments
from operators.dicom.frames import ITEM, ITEM_HEADER, SEQUENCE_END, frame_bytes
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, len(value)) + value


FIRST = element(0x00091001, b"x" * 20)
WANTED = 0x00111001
DATA = FIRST + element(WANTED, b"y" * 2000)


@pytest.mark.parametrize("size", range(len(FIRST), len(FIRST) + 30))
def test_a_window_that_ends_within_a_later_header_says_where_to_continue(size: int) -> None:
    found = seek(DATA[:size], 0, len(DATA), EXPLICIT_VR_LITTLE_ENDIAN, WANTED)

    assert found in (BeyondWindow(len(FIRST)), ValueLocation(len(FIRST) + 12, len(DATA)))
    assert seek(DATA[len(FIRST) :], len(FIRST), len(DATA), EXPLICIT_VR_LITTLE_ENDIAN, WANTED) == ValueLocation(
        44, len(DATA)
    )


@pytest.mark.parametrize("size", range(8, 12))
def test_a_window_that_ends_within_its_first_header_is_unreadable(size: int) -> None:
    with pytest.raises(Rejected, match="unreadable-header"):
        seek(DATA[:size], 0, len(DATA), EXPLICIT_VR_LITTLE_ENDIAN, WANTED)


async def chunked(data: bytes, sizes: list[int]) -> AsyncGenerator[bytes, None]:
    at = 0
    for size in (*sizes, len(data)):
        if at < len(data):
            yield data[at : at + size]
        at += size


def all_of(chunks: AsyncGenerator[bytes, None]) -> bytes:
    async def joined() -> bytes:
        return b"".join([chunk async for chunk in chunks])

    return asyncio.run(joined())


SIZES = st.lists(st.integers(1, 9), max_size=12)


@given(st.binary(min_size=1, max_size=40), SIZES, st.data())
def test_bits_aligned_in_a_stream_equal_bits_aligned_at_once(
    data: bytes, sizes: list[int], draw: st.DataObject
) -> None:
    skip = draw.draw(st.integers(0, 7))
    count = draw.draw(st.integers(0, len(data) * 8 - skip))

    assert all_of(stream_aligned(chunked(data, sizes), skip, count)) == align(data, skip, count)


def item(data: bytes) -> bytes:
    return ITEM_HEADER.pack(*ITEM, len(data)) + data


@given(st.lists(st.binary(max_size=9), max_size=9), SIZES)
def test_streamed_fragments_join_to_the_frame(fragments: list[bytes], sizes: list[int]) -> None:
    frame = b"".join(item(fragment) for fragment in fragments)

    assert all_of(stream_fragments(chunked(frame, sizes))) == frame_bytes(frame)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9), SIZES, st.binary(max_size=9))
def test_a_stream_has_the_fragments_between_offset_table_and_delimiter(
    fragments: list[bytes], sizes: list[int], after: bytes
) -> None:
    value = b"".join(item(fragment) for fragment in fragments) + ITEM_HEADER.pack(*SEQUENCE_END, 0) + after

    assert all_of(stream_fragments(chunked(value, sizes), tables=1)) == b"".join(fragments[1:])


@pytest.mark.parametrize("data", [item(b"a") * 3, b"no item there"])
def test_too_many_fragments_or_a_missing_item_are_a_bad_frame(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkdata, "MAX_FRAGMENTS", 2)
    with pytest.raises(Rejected, match="bad-frame"):
        all_of(stream_fragments(chunked(data, [])))
