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

from operators.errors import Rejected
from operators.frames import ITEM, ITEM_HEADER
from operators.header import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED,
    Reason,
    inflate,
    scan,
)
from operators.instance import examine
from schemas.events import Frames

Chunks = AsyncGenerator[bytes, None]

ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280002, 0x00280100
SHAPE = frozenset({ROWS, COLUMNS, SAMPLES_PER_PIXEL, BITS_ALLOCATED})


class Place(NamedTuple):
    """Bytes of an object, end exclusive."""

    start: int
    end: int


class Beyond(NamedTuple):
    """Not in this window: go on reading here, where an element begins."""

    position: int


def seek(window: bytes, start: int, end: int, transfer_syntax: str, tag: int) -> Place | Beyond | None:
    """Look for a top-level element's value in a window of an object, where an element begins at its `start`.

    `end` is where the elements end that may be looked at. None when the element is not there, or is a sequence or of
    undefined length: then no bytes are its value. Raises Rejected("unreadable-header").
    """
    stream, last = BytesIO(window), _Last()

    def stop(found: int, vr: str | None, length: int) -> bool:
        last.tag, last.vr, last.start, last.length = int(found), vr or "", stream.tell(), length
        return found >= tag

    _read(stream, transfer_syntax, stop)
    if last.tag == tag:
        is_value = last.length != UNDEFINED and last.vr != "SQ"
        return Place(start + last.start, start + last.start + last.length) if is_value else None
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

    place: Place
    skip: int
    bits: int


def packed(header: bytes, prefix_length: int, transfer_syntax: str, number: int) -> Packed | None:
    """Locate a frame whose pixels are bits and that need not begin with a byte (PS3.5 8.1.1); the first is number 1.

    `header` reaches beyond the pixel element's own header. None where frames are not of that kind.
    """
    found = scan(header[prefix_length:], transfer_syntax, SHAPE)
    numbers = [int.from_bytes(found.raw(tag, 2) or b"\1", "little") for tag in sorted(SHAPE)]
    samples, rows, columns, allocated = numbers
    if allocated != 1 or found.pixels is None or found.pixels.length is None or found.order != "<":
        return None
    bits = samples * rows * columns
    first, skip = divmod((number - 1) * bits, 8)
    start = prefix_length + found.pixels.start + first
    end = start + -(-(skip + bits) // 8)
    is_there = end <= prefix_length + found.pixels.start + found.pixels.length
    return Packed(Place(start, end), skip, bits) if is_there and bits else None


def aligned(raw: bytes, skip: int, bits: int) -> bytes:
    """Give a frame of bits so that it begins with a byte's lowest bit; what is over in the last byte is zero."""
    number = int.from_bytes(raw, "little") >> skip & ((1 << bits) - 1)
    return number.to_bytes(-(-bits // 8), "little")


def inflated(whole: bytes, prefix_length: int) -> tuple[bytearray, Frames]:
    """Give a deflated data set as it was before, as far as memory is spent on it, and where its frames lie in that.

    Raises Rejected as the scan of a header does.
    """
    data, _ = inflate(memoryview(whole)[prefix_length:])
    return data, examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0).frames


async def unwrapped(chunks: Chunks) -> Chunks:
    """Give an encapsulated frame's code stream from its fragments, without their headers (PS3.5 A.4), as they come.

    A last fragment that is cut short gives what is there. Raises Rejected(BAD_FRAME) where an item should begin.
    """
    left, head = 0, b""
    async with aclosing(chunks):
        async for chunk in chunks:
            position = 0
            while position < len(chunk):
                if left:
                    piece = chunk[position : position + left]
                    position, left = position + len(piece), left - len(piece)
                    yield piece
                    continue
                taken = chunk[position : position + ITEM_HEADER.size - len(head)]
                position, head = position + len(taken), head + taken
                if len(head) == ITEM_HEADER.size:
                    left, head = _item_length(head), b""
    if head:
        raise Rejected(Reason.BAD_FRAME.value)


def _item_length(head: bytes) -> int:
    group, element, length = ITEM_HEADER.unpack(head)
    if (group, element) != ITEM:
        raise Rejected(Reason.BAD_FRAME.value)
    return int(length)
