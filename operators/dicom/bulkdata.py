"""Find and stream single values and frames of an object without reading the whole object.

Source: PS3.18 F.2.6 (bulk data), PS3.5 8.1 and 8.2 (native pixels).
"""

import warnings
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom.filereader import read_dataset

from operators.dicom.attributes import TAGS
from operators.dicom.frames import ITEM, ITEM_HEADER, MAX_FRAGMENTS, SEQUENCE_END
from operators.dicom.instance import examine
from operators.dicom.json import known_vr
from operators.dicom.reasons import Reason
from operators.dicom.scan import UNDEFINED, inflate, scan
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_of
from operators.errors import Rejected
from schemas.events import Frames

Chunks = AsyncGenerator[bytes, None]

SHAPE = tuple(TAGS[name] for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))


class ValueLocation(NamedTuple):
    """Where a value lies in its object, end exclusive."""

    start: int
    end: int


class BeyondWindow(NamedTuple):
    """The value is not in the window; an element begins at `position`, where the search must continue."""

    position: int


def seek(window: bytes, start: int, end: int, transfer_syntax: str, tag: int) -> ValueLocation | BeyondWindow | None:
    """Find a top-level element's value in a window of an object; an element begins at `start`, as the window does.

    `end` is where the elements to be searched end. None when the element is absent, is a sequence, or has an undefined
    length. Raises Rejected("unreadable-header").
    """
    last = _LastElement()
    is_cut_off = start + len(window) < end
    try:
        _read_up_to(tag, window, transfer_syntax, last)
    except Rejected:
        # After at least one element, a failure may only mean that the window ends within the next element's header.
        if last.start == 0 or not is_cut_off:
            raise
    if last.tag == tag:
        is_value = last.length != UNDEFINED and (last.vr or known_vr(tag)) != "SQ"
        return ValueLocation(start + last.start, start + last.start + last.length) if is_value else None
    return _next_search(last, start, end, tag, is_cut_off=is_cut_off)


@dataclass
class _LastElement:
    """The element that was read last: `start` is where its value begins in the window, 0 before any was read."""

    tag: int = -1
    vr: str = ""
    start: int = 0
    length: int = 0


def _next_search(last: _LastElement, start: int, end: int, tag: int, *, is_cut_off: bool) -> BeyondWindow | None:
    """Return where the search continues after the last element of a window; None when the wanted element is absent."""
    after = start + last.start + last.length
    if last.tag > tag or after >= end or last.start == 0:
        return None
    if last.length != UNDEFINED:
        return BeyondWindow(after)
    if is_cut_off:
        # The sequence ends beyond the window: where the next element begins is unknown.
        raise Rejected("unreadable-header")
    return None


def _read_up_to(tag: int, window: bytes, transfer_syntax: str, last: _LastElement) -> None:
    """Read elements up to this tag or a greater one; `last` is set to each in turn, even if Rejected is raised."""
    stream, syntax = BytesIO(window), transfer_syntax_of(transfer_syntax)

    def stop(found: int, vr: str | None, length: int) -> bool:
        last.tag, last.vr, last.start, last.length = int(found), vr or "", stream.tell(), length
        return found >= tag

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_dataset(stream, not syntax.is_explicit, not syntax.is_big_endian, stop_when=stop)
        except Exception as error:  # pydicom raises many kinds on foreign bytes
            raise Rejected("unreadable-header") from error


class BitFrame(NamedTuple):
    """A frame of one-bit pixels: the bytes that hold it, the number of bits to skip in the first byte, and its bits."""

    location: ValueLocation
    skip: int
    bits: int


class BitFrames(NamedTuple):
    """Frames of one-bit pixels, stored without gaps: where all of them lie in the object, and the bits of each."""

    pixels: ValueLocation
    bits: int

    def frame(self, number: int) -> BitFrame | None:
        """Locate a frame, counted from 1; None when the pixels end before the frame does."""
        first, skip = divmod((number - 1) * self.bits, 8)
        start = self.pixels.start + first
        end = start + -(-(skip + self.bits) // 8)
        return BitFrame(ValueLocation(start, end), skip, self.bits) if end <= self.pixels.end else None


def bit_frames(header: bytes, prefix_length: int, transfer_syntax: str) -> BitFrames | None:
    """Find the frames of an image with one-bit pixels; None for any other image.

    Such a frame may begin within a byte (PS3.5 8.1.1). `header` must include the header of the pixel element.
    """
    found = scan(header[prefix_length:], transfer_syntax, frozenset(SHAPE))
    rows, columns, samples, allocated = (int.from_bytes(found.raw(tag, 2) or b"\1", "little") for tag in SHAPE)
    bits = samples * rows * columns
    if allocated != 1 or not bits or found.pixels is None or found.pixels.length is None or found.order != "<":
        return None
    start = prefix_length + found.pixels.start
    return BitFrames(ValueLocation(start, start + found.pixels.length), bits)


def align(raw: bytes, skip: int, bits: int) -> bytes:
    """Return `bits` bits after the first `skip`, moved to the lowest bit of the first byte and padded with zeros."""
    number = int.from_bytes(raw, "little") >> skip & ((1 << bits) - 1)
    return number.to_bytes(-(-bits // 8), "little")


async def stream_aligned(chunks: Chunks, skip: int, bits: int) -> Chunks:
    """Stream what align() would return for all chunks joined."""
    held = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            held += chunk
            available = len(held) * 8 - skip
            taken = bits if bits <= available else max(available // 8 * 8, 0)
            if taken:
                yield align(held, skip, taken)
            held, bits = held[taken // 8 :], bits - taken


def inflate_object(whole: bytes, prefix_length: int) -> tuple[bytearray, Frames]:
    """Return a deflated object's inflated data set, up to the scan's limit, and where its frames lie in it.

    Raises Rejected as scan() does.
    """
    data = inflate(memoryview(whole)[prefix_length:]).data
    return data, examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0).frames


async def stream_fragments(chunks: Chunks, tables: int = 0) -> Chunks:
    """Stream the values of encapsulated fragments, without their headers: a frame's code stream (PS3.5 A.4).

    The first `tables` items are offset tables and are left out. The sequence's delimiter ends the stream. A last
    fragment that is cut short is streamed as far as it goes. Raises Rejected(BAD_FRAME) when no item begins where one
    should, or when there are more than MAX_FRAGMENTS.
    """
    items = _Fragments(tables)
    async with aclosing(chunks):
        async for chunk in chunks:
            if found := items.values_in(chunk):
                yield found
            if items.is_over:
                return
    if items.head:
        raise Rejected(Reason.BAD_FRAME.value)


@dataclass
class _Fragments:
    """Reads items from chunks: `left` bytes of the item have not arrived; `head` is the next item's partial header."""

    tables: int
    count: int = 0
    left: int = 0
    head: bytes = b""
    is_over: bool = False

    def values_in(self, chunk: bytes) -> bytes:
        """Return the bytes of a chunk that belong to the values of fragments."""
        pieces, position = [], 0
        while position < len(chunk) and not self.is_over:
            if self.left:
                piece = chunk[position : position + self.left]
                position, self.left = position + len(piece), self.left - len(piece)
                if self.count > self.tables:
                    pieces.append(piece)
                continue
            taken = chunk[position : position + ITEM_HEADER.size - len(self.head)]
            position, self.head = position + len(taken), self.head + taken
            if len(self.head) == ITEM_HEADER.size:
                self._begin()
        return b"".join(pieces)

    def _begin(self) -> None:
        group, element, length = ITEM_HEADER.unpack(self.head)
        self.count, self.left, self.head = self.count + 1, int(length), b""
        self.is_over = (group, element) == SEQUENCE_END
        if not self.is_over and ((group, element) != ITEM or self.count > MAX_FRAGMENTS):
            raise Rejected(Reason.BAD_FRAME.value)
