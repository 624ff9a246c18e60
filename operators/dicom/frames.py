"""Where the frames of an image lie in its object, and how a frame's bytes are read from that range.

Source: PS3.5 8 (native), A.4 (encapsulated), PS3.3 C.7.6.3 (image pixel).
"""

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Literal

from operators.dicom.reasons import Oddity, Reason
from operators.dicom.scan import UNDEFINED, Buffer, Header, is_tail
from operators.dicom.transfer_syntaxes import is_form_of_pixels, is_video
from operators.errors import Rejected
from operators.pieces import Pieces, in_pieces
from schemas.events import Frames, FramesKind

MAX_LENGTHS_BYTES = 64 << 10
MAX_FRAGMENTS = 4 * MAX_LENGTHS_BYTES
ITEM_PIECES = tuple(in_pieces(range(MAX_FRAGMENTS + 1)))
PACKED_VERSION = 1
# Set in every byte of a varint but the last.
MORE = 0x80

EXTENDED_OFFSET_TABLE = 0x7FE00001

BYTE, WORD_BITS = 8, 16
COLOUR_SAMPLES, SHARED_CHROMA_SAMPLES = 3, 2
# Not YBR_PARTIAL_420, in which four pixels share their chroma: it occurs only in MPEG, never in native frames.
SHARED_CHROMA = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})

KINDS: tuple[FramesKind, ...] = ("none", "native", "encapsulated", "unlisted")

ITEM_HEADER = struct.Struct("<HHI")
# A sender that took pixels for native ones may have written their items as a big-endian syntax writes sequences.
BIG_ITEM_HEADER, BIG_ITEM_GROUP = struct.Struct(">HHI"), b"\xff\xfe"
ITEM = (0xFFFE, 0xE000)
SEQUENCE_END = (0xFFFE, 0xE0DD)
DELIMITERS = tuple(layout.pack(*SEQUENCE_END, 0) for layout in (ITEM_HEADER, BIG_ITEM_HEADER))
# JPEG's EOI and JPEG 2000's EOC; JPEG's SOI and JPEG 2000's SOC.
IMAGE_END = b"\xff\xd9"
IMAGE_STARTS = (b"\xff\xd8", b"\xff\x4f")
IMAGE_END_WITHIN_BYTES = 10


@dataclass(frozen=True)
class Shape:
    """The shape of an image's frames; a field that its header does not tell is None. `count` is Number of Frames."""

    rows: int | None
    columns: int | None
    samples: int | None
    bits_allocated: int | None
    photometric_interpretation: str | None
    count: int | None

    @property
    def sample_bits(self) -> int | None:
        """Return the bits of one sample of every pixel of a frame; None when the shape is incomplete."""
        if not (self.rows and self.columns and self.bits_allocated):
            return None
        return self.rows * self.columns * self.bits_allocated

    @property
    def stated_samples(self) -> int:
        """Return the samples that native frames should store for each pixel: 2 of 3 if neighbours share their chroma.

        Source: PS3.3 C.7.6.3.1.2, PS3.5 8.2.
        """
        is_shared = self.samples == COLOUR_SAMPLES and self.photometric_interpretation in SHARED_CHROMA
        return SHARED_CHROMA_SAMPLES if is_shared else self.samples or 1

    def stored_samples(self, length: int) -> int:
        """Return the samples that native frames do store for each pixel, in Pixel Data of `length` bytes.

        Where the length is exactly that of all three samples, none is shared: a sender decoded the pixels and left
        the attribute as it was.
        """
        samples = self.samples or 1
        return samples if length == self.native_bytes(samples) else self.stated_samples

    def native_bytes(self, samples: int) -> int:
        """Return the length of native Pixel Data, padding included, with this number of samples for each pixel."""
        size = -(-(self.sample_bits or 0) * samples * max(self.count or 1, 1) // BYTE)
        return size + size % 2


@dataclass(frozen=True)
class Located:
    """The located frames, and the oddities of their storage."""

    frames: Frames
    oddities: frozenset[Oddity] = frozenset()


def locating(header: Header, transfer_syntax: str, shape: Shape, base: int) -> Pieces[Located]:
    """Locate every frame of an image, in pieces; `base` is where the data set begins in the object.

    The kind is "none" without Pixel Data. It is "unlisted" for a deflated data set, when the list of lengths would be
    longer than 64 KiB, when nothing reliable tells where frames begin, or when the pixels are in another form than the
    transfer syntax says. Native frames that are cut off do not count.
    """
    pixels, count = header.pixels, max(shape.count or 1, 1)
    if pixels is None:
        return Located(Frames())
    if pixels.length is None:
        return (yield from _locating_items(header, transfer_syntax, shape, base))
    if not is_form_of_pixels(transfer_syntax, pixels.length):
        return Located(Frames(kind="unlisted", count=count), frozenset({Oddity.ODD_FRAGMENTS}))
    if (yield from walking_items(header.data, pixels.start, pixels.length)):
        items = _unlisted(header, (pixels.start, pixels.start + pixels.length), base, count)
        return Located(items, frozenset({Oddity.ODD_FRAGMENTS}))
    oddities = _size_oddities(pixels.length, shape)
    if header.is_deflated:
        return Located(Frames(kind="unlisted", count=count), oddities)
    frames = _native(header, pixels.start, pixels.length, shape, base)
    return Located(frames, oddities | ({Oddity.TRUNCATED_PIXELS} if frames.count < count else set()))


def _native(header: Header, start: int, length: int, shape: Shape, base: int) -> Frames:
    bits, count = (shape.sample_bits or 0) * shape.stored_samples(length), max(shape.count or 1, 1)
    unit = WORD_BITS if is_swapped(header, shape.bits_allocated or 0) else BYTE
    if not bits or (bits % unit and count > 1):
        return Frames(kind="unlisted", count=count)
    frame_bytes = -(-bits // unit) * unit // BYTE
    whole = min(length, len(header.data) - start) // frame_bytes
    if not whole:
        return Frames(kind="native", offset=base + start)
    return Frames(kind="native", offset=base + start, length=frame_bytes, count=min(count, whole))


def walking_items(data: Buffer, start: int, length: int) -> Pieces[bool]:
    """Return, in pieces, whether items fill Pixel Data of defined length exactly: encapsulated pixels, said to be native.

    Samples may begin with an item's tag by chance, and then no chain of lengths ends where the pixels end. Items in
    either byte order count; a delimiter may end them.
    """
    layout, end = item_header_at(data, start), start + length
    position = start
    for piece in ITEM_PIECES:
        for _ in piece:
            if position + layout.size > min(end, len(data)):
                return start < position == end
            group, element, size = layout.unpack_from(data, position)
            if (group, element) == SEQUENCE_END:
                return start < position and position + layout.size == end
            if (group, element) != ITEM:
                return False
            position += layout.size + size
        yield
    return False


def item_header_at(data: Buffer, position: int) -> struct.Struct:
    """Return how the headers of items that begin here are packed: big-endian, or little-endian as they should be."""
    return BIG_ITEM_HEADER if bytes(data[position : position + 2]) == BIG_ITEM_GROUP else ITEM_HEADER


def is_swapped(header: Header, bits_allocated: int) -> bool:
    """True if samples of at most a byte lie in words of OW, big-endian: the first in the second byte (PS3.5 8.1.1)."""
    is_in_words = header.pixels is not None and header.pixels.vr == "OW" and bits_allocated <= BYTE
    return is_in_words and header.order == ">"


def _size_oddities(length: int, shape: Shape) -> frozenset[Oddity]:
    """Return the oddity of native Pixel Data that is longer or shorter than its attributes say, padding included."""
    stated = shape.native_bytes(shape.stated_samples)
    if 0 < stated < length:
        return frozenset({Oddity.SURPLUS_PIXELS})
    return frozenset({Oddity.TRUNCATED_PIXELS} if length + length % 2 < stated else ())


def _locating_items(header: Header, transfer_syntax: str, shape: Shape, base: int) -> Pieces[Located]:
    """Locate the frames of Pixel Data of undefined length."""
    count = max(shape.count or 1, 1)
    if is_form_of_pixels(transfer_syntax, None):
        if count > MAX_LENGTHS_BYTES:
            return Located(Frames(kind="unlisted", count=count))
        return (yield from _encapsulated(header, shape, base, is_stream=is_video(transfer_syntax)))
    bounds, _ = yield from item_bounds(header)
    return Located(_unlisted(header, bounds, base, count), frozenset({Oddity.ODD_FRAGMENTS}))


def _unlisted(header: Header, bounds: Sequence[int], base: int, count: int) -> Frames:
    """Return unlisted frames, with the range of the items that they lie in.

    Where neither a length nor a delimiter ends the items, the data set does. There is no range in a deflated data set,
    nor where the items are too many to be walked through.
    """
    if header.is_deflated or len(bounds) > MAX_FRAGMENTS + 1:
        return Frames(kind="unlisted", count=count)
    start, end = bounds[0], bounds[-1]
    is_open = header.pixels is not None and header.pixels.length is None
    if is_open and bytes(header.data[end : end + ITEM_HEADER.size]) not in DELIMITERS:
        end = len(header.data)
    return Frames(kind="unlisted", offset=base + start, length=end - start, count=count)


def _encapsulated(header: Header, shape: Shape, base: int, *, is_stream: bool) -> Pieces[Located]:
    """Locate the frames in fragments; those of a stream, such as a video, need not be counted by them."""
    bounds, oddities = yield from item_bounds(header)
    unlisted = Located(_unlisted(header, bounds, base, max(shape.count or 1, 1)), oddities)
    if len(bounds) == 1 or len(bounds) > MAX_FRAGMENTS + 1:
        return unlisted
    tables = _offset_tables(header, bounds)
    firsts, is_by_wrong_table = yield from _first_fragments(header, bounds, tables, shape.count)
    if not is_stream:
        are_found = firsts is not None and not is_by_wrong_table
        oddities |= _miscounted(len(bounds) - 2, tables, shape.count, are_found=are_found)
    if firsts is None or len(firsts) > MAX_LENGTHS_BYTES:
        return Located(unlisted.frames, oddities)
    starts = [bounds[1 + first] for first in firsts] + bounds[-1:]
    lengths = yield from _encoded_lengths(starts)
    if len(lengths) > MAX_LENGTHS_BYTES:
        return unlisted
    frames = Frames(kind="encapsulated", offset=base + starts[0], count=len(firsts), lengths=lengths)
    return Located(frames, oddities)


def _encoded_lengths(starts: Sequence[int]) -> Pieces[bytes]:
    """Return the length of each frame, as a varint, from where they begin and where the last one ends."""
    lengths = bytearray()
    for numbers in in_pieces(range(1, len(starts))):
        lengths += b"".join(_varint(starts[number] - starts[number - 1]) for number in numbers)
        yield
    return bytes(lengths)


def _offset_tables(header: Header, bounds: Sequence[int]) -> tuple[Sequence[int], ...]:
    """Return the extended and the basic offset table, without those that are empty or absent."""
    basic = _numbers(bytes(header.data[bounds[0] + ITEM_HEADER.size : bounds[1]][: 4 * MAX_FRAGMENTS]), "I")
    extended = _numbers(header.raw(EXTENDED_OFFSET_TABLE, 8 * MAX_FRAGMENTS) or b"", "Q")
    return tuple(filter(None, (extended, basic)))


def _miscounted(
    fragments: int, tables: Sequence[Sequence[int]], count: int | None, *, are_found: bool
) -> frozenset[Oddity]:
    """Return the oddity of fewer fragments than frames, of an offset table for others, or of frames not found.

    `are_found` is False too where an offset table names places at which no fragment begins.
    """
    if fragments < (count or 1):
        return frozenset({Oddity.TRUNCATED_PIXELS})
    is_odd = not are_found or any(len(offsets) != (count or 1) for offsets in tables)
    return frozenset({Oddity.ODD_FRAGMENTS} if is_odd else ())


def item_bounds(header: Header) -> Pieces[tuple[list[int], frozenset[Oddity]]]:
    """Return where each item of encapsulated pixel data begins, the offset table first, and where the last one ends.

    The list stops at the delimiter, at a fault, or at the first item above MAX_FRAGMENTS.
    """
    pixels, data = header.pixels, header.data
    if pixels is None:
        return [0], frozenset()
    position, size, layout = pixels.start, len(data), item_header_at(data, pixels.start)
    bounds, found = [position], set[Oddity]()
    for piece in ITEM_PIECES:
        for _ in piece:
            if position + ITEM_HEADER.size > size:
                found.add(Oddity.TRUNCATED_PIXELS if position != size else Oddity.ODD_FRAGMENTS)
                return bounds, frozenset(found)
            group, element, length = layout.unpack_from(data, position)
            if (group, element) == SEQUENCE_END:
                has_tail = is_tail(data, position + ITEM_HEADER.size, pixels)
                found |= _end_oddities(has_tail=has_tail, has_items=len(bounds) > 1)
                return bounds, frozenset(found)
            if (group, element) != ITEM or length == UNDEFINED:
                return bounds, frozenset(found | {Oddity.ODD_FRAGMENTS})
            if length & 1 or not (length or len(bounds) == 1):
                found.add(Oddity.ODD_LENGTH if length else Oddity.ODD_FRAGMENTS)
            position += ITEM_HEADER.size + length
            bounds.append(min(position, size))
        yield
    return bounds, frozenset(found)


def _end_oddities(*, has_tail: bool, has_items: bool) -> set[Oddity]:
    """Return the oddities of the delimiter: no items before it, or bytes that are no elements behind it."""
    oddities = set() if has_tail else {Oddity.TRAILING_BYTES}
    return oddities if has_items else oddities | {Oddity.ODD_FRAGMENTS}


def _first_fragments(
    header: Header, bounds: list[int], tables: Sequence[Sequence[int]], count: int | None
) -> Pieces[tuple[Sequence[int] | None, bool]]:
    """Return the index of each frame's first fragment; and True if an offset table of `count` offsets has wrong places.

    The index is None when nothing reliable tells where frames begin. `bounds` are those of the items, the offset table
    first. An offset table is believed only if it has `count` offsets and a fragment begins at each.
    """
    fragments, is_wrong = bounds[1:], False
    for offsets in tables:
        if count in {None, len(offsets)}:
            if firsts := (yield from _by_table(offsets, fragments[:-1])):
                return firsts, is_wrong
            is_wrong = True
    count = count or 1
    if count == len(fragments) - 1:
        return range(count), is_wrong
    if count == 1:
        return range(min(1, len(fragments) - 1)), is_wrong
    return (yield from _by_markers(header.data, fragments, count)), is_wrong


def _by_table(offsets: Sequence[int], starts: Sequence[int]) -> Pieces[Sequence[int] | None]:
    """Return the index of the fragment at each offset of a table, which counts from where the first fragment begins.

    None unless a fragment begins at every offset, and the offsets rise from 0.
    """
    if offsets[0] or not starts:
        return None
    firsts: list[int] = []
    for piece in in_pieces(offsets):
        for offset in piece:
            start = starts[0] + offset
            number = bisect_left(starts, start, firsts[-1] + 1 if firsts else 0)
            if number == len(starts) or starts[number] != start:
                return None
            firsts.append(number)
        yield
    return firsts


def _by_markers(data: Buffer, bounds: Sequence[int], count: int) -> Pieces[Sequence[int] | None]:
    """Find the first fragment of `count` frames by end markers, as pydicom does, or by start markers."""
    by_end, by_start = [0], []
    for numbers in in_pieces(range(len(bounds) - 1)):
        for number in numbers:
            content, end = bounds[number] + ITEM_HEADER.size, bounds[number + 1]
            if IMAGE_END in bytes(data[max(content, end - IMAGE_END_WITHIN_BYTES) : end]):
                by_end.append(number + 1)
            if bytes(data[content : content + 2]) in IMAGE_STARTS:
                by_start.append(number)
        yield
    # Nothing begins after the last fragment.
    by_end = by_end[: bisect_left(by_end, len(bounds) - 1)]
    if len(by_end) == count:
        return by_end
    return by_start if len(by_start) == count and by_start[0] == 0 else None


def _numbers(raw: bytes, letter: Literal["I", "Q"]) -> tuple[int, ...]:
    whole = len(raw) // struct.calcsize("<" + letter)
    return struct.unpack_from(f"<{whole}{letter}", raw)


def move_frames(frames: Frames, difference: int) -> Frames:
    """Return the same frames with all offsets moved by `difference` bytes, as after another prefix."""
    has_place = frames.kind in {"native", "encapsulated"} or frames.offset
    return replace(frames, offset=frames.offset + difference) if has_place else frames


def frame_range(frames: Frames, number: int) -> tuple[int, int]:
    """Return where a frame lies in the object, end exclusive; the first frame is number 1.

    Raises Rejected(NO_SUCH_FRAME), also when the frames are not listed.
    """
    if not 1 <= number <= frames.count or frames.kind not in {"native", "encapsulated"}:
        raise Rejected(Reason.NO_SUCH_FRAME.value)
    if frames.kind == "native":
        start = frames.offset + (number - 1) * frames.length
        return start, start + frames.length
    bounds = _bounds(frames.lengths)
    if number >= len(bounds):
        raise Rejected(Reason.NO_SUCH_FRAME.value)
    return frames.offset + bounds[number - 1], frames.offset + bounds[number]


@lru_cache(maxsize=16)
def _bounds(lengths: bytes) -> tuple[int, ...]:
    """Return where each frame begins, from the first frame on, and where the last one ends.

    Cached because a client that reads one frame often reads them all.
    """
    return tuple(accumulate(_varints(lengths), initial=0))


def frame_bytes(range_bytes: bytes) -> bytes:
    """Return an encapsulated frame's code stream: its fragments joined, without their headers (PS3.5 A.4).

    A last fragment that is cut short is returned as far as it goes.
    Raises Rejected(BAD_FRAME) when no item begins where one should.
    """
    pieces, position = [], 0
    while position < len(range_bytes):
        if position + ITEM_HEADER.size > len(range_bytes):
            raise Rejected(Reason.BAD_FRAME.value)
        group, element, length = ITEM_HEADER.unpack_from(range_bytes, position)
        if (group, element) != ITEM:
            raise Rejected(Reason.BAD_FRAME.value)
        position += ITEM_HEADER.size
        pieces.append(range_bytes[position : position + length])
        position += length
    return b"".join(pieces)


def pack(frames: Frames) -> bytes:
    """Encode frames for the catalog: version and kind in a byte each, three varints, then the lengths of frames."""
    numbers = b"".join(_varint(number) for number in (frames.offset, frames.length, frames.count))
    return bytes((PACKED_VERSION, KINDS.index(frames.kind))) + numbers + frames.lengths


def unpack(packed: bytes) -> Frames:
    """Return the frames that pack() encoded as these bytes; raises ValueError for any other bytes."""
    if len(packed) < 2 or packed[0] != PACKED_VERSION or packed[1] >= len(KINDS):  # noqa: PLR2004 (version, kind)
        raise ValueError("not packed frames of a known version")
    numbers, position = [], 2
    for _ in range(3):
        number, position = _varint_at(packed, position)
        numbers.append(number)
    offset, length, count = numbers
    frames = Frames(kind=KINDS[packed[1]], offset=offset, length=length, count=count, lengths=packed[position:])
    if pack(frames) != packed:
        raise ValueError("not packed frames")
    return frames


def listed_frames(packed: bytes, transfer_syntax: str) -> Frames:
    """Return the frames in a catalog's row, of an instance of this transfer syntax.

    Earlier releases listed encapsulated frames of a native transfer syntax: they count as unlisted, as in locating().
    """
    frames = unpack(packed)
    if frames.kind == "encapsulated" and not is_form_of_pixels(transfer_syntax, None):
        return Frames(kind="unlisted", count=frames.count)
    return frames


def _varint(number: int) -> bytes:
    """Return an unsigned LEB128 number: seven bits a byte, the lowest first, MORE set on all but the last."""
    out = bytearray()
    while number >= MORE:
        out.append(number % MORE | MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varint_at(data: bytes, start: int) -> tuple[int, int]:
    """Return the number that begins at `start`, and where it ends; raises ValueError when it is cut short."""
    end = next((at + 1 for at in range(start, len(data)) if data[at] < MORE), None)
    if end is None:
        raise ValueError("a number is cut short")
    return sum(byte % MORE << 7 * place for place, byte in enumerate(data[start:end])), end


def _varints(data: bytes) -> list[int]:
    numbers, number, bits = [], 0, 0
    for byte in data:
        number |= byte % MORE << bits
        bits += 7
        if byte < MORE:
            numbers.append(number)
            number = bits = 0
    return numbers
