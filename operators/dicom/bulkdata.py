"""Where a value lies in its object, and frames that no table lists: what is served by itself is not read whole.

Source: PS3.18 F.2.6 (bulk data), PS3.5 8.1 and 8.2 (native pixels).
"""

import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom.filereader import read_dataset

from operators.dicom.frames import ITEM, ITEM_HEADER, MAX_FRAGMENTS, SEQUENCE_END
from operators.dicom.instance import examine
from operators.dicom.scan import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED,
    Reason,
    inflate,
    scan,
)
from operators.errors import Rejected
from schemas.events import Frames

Chunks = AsyncGenerator[bytes, None]

ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280002, 0x00280100
SHAPE = frozenset({ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED})


class ValueLocation(NamedTuple):
    """Bytes of an object, end exclusive."""

    start: int
    end: int


class Beyond(NamedTuple):
    """Not in this window: go on reading here, where an element begins."""

    position: int


def seek(window: bytes, start: int, end: int, transfer_syntax: str, tag: int) -> ValueLocation | Beyond | None:
    """Look for a top-level element's value in a window of an object, where an element begins at its `start`.

    `end` is where the elements end that may be looked at. None when the element is not there, or is a sequence or of
    undefined length: then no bytes are its value. Raises Rejected("unreadable-header").
    """
    stream, last = BytesIO(window), _Last()

    def stop(found: int, vr: str | None, length: int) -> bool:
        last.tag, last.vr, last.start, last.length = int(found), vr or "", stream.tell(), length
        return found >= tag

    try:
        _read(stream, transfer_syntax, stop)
    except Rejected:
        # Behind an element that was read the window may end within the next one's header.
        if last.start == 0 or start + len(window) >= end:
            raise
    if last.tag == tag:
        is_value = last.length != UNDEFINED and last.vr != "SQ"
        return ValueLocation(start + last.start, start + last.start + last.length) if is_value else None
    after = start + last.start + last.length
    if last.tag > tag or after >= end or last.start == 0:
        return None
    if last.length == UNDEFINED:
        # A sequence that does not end in the window: where the next element begins nobody knows.
        if start + len(window) >= end:
            return None
        raise Rejected("unreadable-header")
    return Beyond(after)


@dataclass
class _Last:
    """The element that a reader came to last: its tag, its VR, where its value begins in the window, its length."""

    tag: int = -1
    vr: str = ""
    start: int = 0
    length: int = 0


def _read(stream: BytesIO, transfer_syntax: str, stop: Callable[[int, str | None, int], bool]) -> None:
    is_implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    is_little = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_dataset(stream, is_implicit, is_little, stop_when=stop)
        except Exception as error:  # pydicom raises many kinds on foreign bytes
            raise Rejected("unreadable-header") from error


class Packed(NamedTuple):
    """Where a frame's bits lie: the bytes of the object, how many bits of the first belong to others, how many it has."""

    place: ValueLocation
    skip: int
    bits: int


class BitFrames(NamedTuple):
    """Frames whose pixels are bits, one behind the other: the bytes of the object where they lie, the bits of each."""

    pixels: ValueLocation
    bits: int

    def frame(self, number: int) -> Packed | None:
        """Locate a frame, the first is number 1; None where the pixels end before it does."""
        first, skip = divmod((number - 1) * self.bits, 8)
        start = self.pixels.start + first
        end = start + -(-(skip + self.bits) // 8)
        return Packed(ValueLocation(start, end), skip, self.bits) if end <= self.pixels.end else None


def bit_frames(header: bytes, prefix_length: int, transfer_syntax: str) -> BitFrames | None:
    """Find frames whose pixels are bits and that need not begin with a byte (PS3.5 8.1.1); None where there are none.

    `header` reaches beyond the pixel element's own header.
    """
    found = scan(header[prefix_length:], transfer_syntax, SHAPE)
    numbers = [int.from_bytes(found.raw(tag, 2) or b"\1", "little") for tag in sorted(SHAPE)]
    samples, rows, columns, allocated = numbers
    bits = samples * rows * columns
    if allocated != 1 or not bits or found.pixels is None or found.pixels.length is None or found.order != "<":
        return None
    start = prefix_length + found.pixels.start
    return BitFrames(ValueLocation(start, start + found.pixels.length), bits)


def aligned(raw: bytes, skip: int, bits: int) -> bytes:
    """Return a frame of bits so that it begins with a byte's lowest bit; what is over in the last byte is zero."""
    number = int.from_bytes(raw, "little") >> skip & ((1 << bits) - 1)
    return number.to_bytes(-(-bits // 8), "little")


async def shifted(chunks: Chunks, skip: int, bits: int) -> Chunks:
    """Return what aligned() does, as the bytes come."""
    held = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            held += chunk
            there = len(held) * 8 - skip
            taken = bits if bits <= there else max(there // 8 * 8, 0)
            if taken:
                yield aligned(held, skip, taken)
            held, bits = held[taken // 8 :], bits - taken


def inflated(whole: bytes, prefix_length: int) -> tuple[bytearray, Frames]:
    """Return a deflated data set as it was before, as far as memory is spent on it, and where its frames lie in that.

    Raises Rejected as the scan of a header does.
    """
    data, _ = inflate(memoryview(whole)[prefix_length:])
    return data, examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0).frames


async def unwrapped(chunks: Chunks, tables: int = 0) -> Chunks:
    """Return an encapsulated frame's code stream from its fragments, without their headers (PS3.5 A.4), as they come.

    So many items at the beginning are offset tables and left out. The sequence's end ends it; a last fragment that is
    cut short gives what is there. Raises Rejected(BAD_FRAME) where an item should begin, and for too many of them.
    """
    items = _Items(tables)
    async with aclosing(chunks):
        async for chunk in chunks:
            if found := items.unwrapped(chunk):
                yield found
            if items.is_over:
                return
    if items.head:
        raise Rejected(Reason.BAD_FRAME.value)


@dataclass
class _Items:
    """Items that come in pieces: how much is left of the last one, and what has come of the next one's header."""

    tables: int
    count: int = 0
    left: int = 0
    head: bytes = b""
    is_over: bool = False

    def unwrapped(self, chunk: bytes) -> bytes:
        """Return what a piece holds of the items' values."""
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
