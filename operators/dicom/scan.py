"""The header scan: a bounded pass over a data set's bytes that finds wanted values and where the pixels begin.

It decodes no values. Nothing here recurses, allocates what a length field claims, or reads values that were not asked
for, so that hostile bytes cost no more than others. Source: PS3.5 7 (elements, sequences), A (transfer syntaxes).
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cache
from mmap import mmap
from typing import Any, NamedTuple

from operators.dicom.attributes import SEQUENCES
from operators.dicom.reasons import Oddity, Reason
from operators.dicom.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    REST_BITS,
    rest_bits_by_tag,
)
from operators.errors import Rejected
from operators.pieces import PIECE_STEPS, Pieces, finished, in_pieces
from schemas.settings.intake import IntakeSettings

Buffer = bytes | bytearray | memoryview | mmap

MAX_INFLATED_HEADER_BYTES = 64 << 20

UNDEFINED = 0xFFFFFFFF

# The smallest element or item is a header alone; one more level of nesting is an item and a sequence (PS3.5 7.5).
SMALLEST_BYTES = 8
SMALLEST_LEVEL_BYTES = 16
# What some writers fill a file up with.
PADDING = b"\0 "

INFLATE_STEP_BYTES = 16 << 10
# PS3.5 A.5: a NUL byte pads a stream of odd length; some writers leave the trailer of gzip (RFC 1952 2.3.1) there.
DEFLATE_PADDING_BYTES = 8 + 1
INFLATED_PIECE_BYTES = 1 << 20

FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
PIXEL_DATA = 0x7FE00010
# PS3.5 7.1: the groups below are those of commands, file meta and directories.
FIRST_GROUP = 0x0008
# How many elements after Pixel Data are looked at: padding and signatures, as a rule none (PS3.3 A.1.1, C.12.1.1.3).
TAIL_ELEMENTS = 16
PIXEL_TAGS = (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA)

# PS3.5 7.1.2: a 16-bit length, or two reserved bytes and a 32-bit one.
SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS"}
    | {"LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
ALL_VRS = SHORT_VRS | LONG_VRS
OPAQUE_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
LITTLE_ITEM = b"\xfe\xff\x00\xe0"
BIG_ITEM = b"\xff\xfe\xe0\x00"


@dataclass(frozen=True)
class ScanLimits:
    """The most structure that a data set may have; one with more is rejected with the Reason named after the limit.

    At these limits a header costs 0.7 CPU seconds, and inflating 2. Each cost grows as its limit does.
    """

    depth: int = 64
    items: int = 100_000
    elements: int = 200_000
    inflate_ratio: int = 100
    inflated_bytes: int = 512 << 20

    @property
    def small_bytes(self) -> int:
        """Return the size up to which a top-level value cannot be nested deeper than `depth`."""
        return (self.depth - 1) * SMALLEST_LEVEL_BYTES


LIMITS = ScanLimits()


def limits_of(settings: IntakeSettings) -> ScanLimits:
    """Return the limits of a data set's structure."""
    return ScanLimits(
        depth=settings.depth,
        items=settings.items,
        elements=settings.elements,
        inflate_ratio=settings.inflate_ratio,
        inflated_bytes=settings.inflated_bytes,
    )


# The sequences whose items scanning_items reads, and the longest sequence that it reads.
READ_SEQUENCES = frozenset(sequence.tag for sequence in SEQUENCES)
MAX_SEQUENCE_BYTES = 64 << 10

# Where a value lies: its VR (empty when implicit), its first byte, its length.
ValueSpan = tuple[str, int, int]


class Pixels(NamedTuple):
    """The pixel element: `vr` is empty when implicit, `start` the value's first byte, `length` None if undefined."""

    tag: int
    vr: str
    start: int
    length: int | None


@dataclass(frozen=True)
class Header:
    """The result of a scan; all offsets count from the first byte of `data`.

    `data` is the data set, or the beginning of the inflated data set. `end` is where Pixel Data begins, or
    where the data set ends without any. `values` has the wanted top-level values by tag. `order` is the byte order of
    numbers as struct writes it.
    """

    data: Buffer = field(repr=False)
    end: int
    values: dict[int, ValueSpan]
    pixels: Pixels | None
    order: str
    is_deflated: bool
    oddities: frozenset[Oddity]

    def raw(self, tag: int, most_bytes: int = UNDEFINED) -> bytes | None:
        """Return the first `most_bytes` bytes of a value; None when the element is absent."""
        value = self.values.get(tag)
        if value is None:
            return None
        _, start, length = value
        return bytes(self.data[start : start + min(length, most_bytes)])


def scan(buffer: Buffer, transfer_syntax: str, wanted: frozenset[int], limits: ScanLimits = LIMITS) -> Header:
    """Find the header's end, the wanted top-level values and the pixel element.

    If an element occurs twice, the last one counts, as in pydicom. Sequences of defined length are walked through only
    to enforce the limits: an ill-formed one is accepted.
    Raises Rejected with a Reason for a data set that is cut short, ill-formed or over a limit.
    """
    return finished(scanning(buffer, transfer_syntax, wanted, limits))


def scanning(
    buffer: Buffer,
    transfer_syntax: str,
    wanted: frozenset[int],
    limits: ScanLimits = LIMITS,
    inflated: "Inflated | None" = None,
) -> Pieces[Header]:
    """Return the header that scan() returns, in pieces; the result of inflate() may be given for a deflated data set."""
    if transfer_syntax in DEFLATED:
        return (yield from _scanning_inflated(inflated or inflate(buffer, limits), wanted, limits))
    syntax, oddities = _actual_syntax(buffer, SYNTAXES.get(transfer_syntax, EXPLICIT_LITTLE))
    for small_bytes in (limits.small_bytes, 0):
        found = _Scan(buffer, syntax, wanted, limits, small_bytes)
        end = yield from found.walk()
        if found.elements > limits.elements:
            raise Rejected(Reason.TOO_MANY_ELEMENTS.value)
        # A longer header may have more items or elements than allowed, in values that the first pass jumped over.
        if end <= min(limits.items, limits.elements) * SMALLEST_BYTES:
            break
    oddities |= found.oddities
    if end and int.from_bytes(buffer[:2], "big" if syntax.order == ">" else "little") < FIRST_GROUP:
        oddities.add(Oddity.FOREIGN_GROUP)
    return Header(buffer, end, found.values, found.pixels, syntax.order, False, frozenset(oddities))


def _scanning_inflated(inflated: "Inflated", wanted: frozenset[int], limits: ScanLimits) -> Pieces[Header]:
    data, is_whole, has_tail = inflated
    header = yield from scanning(data, EXPLICIT_VR_LITTLE_ENDIAN, wanted, limits)
    cut = set() if is_whole or header.pixels is None else {Oddity.TRUNCATED_PIXELS}
    # What was inflated may end before the pixels do, or in the middle of what follows them.
    unknown = {Oddity.TRUNCATED_PIXELS}
    if len(data) >= MAX_INFLATED_HEADER_BYTES:
        unknown.add(Oddity.TRAILING_BYTES)
    cut |= {Oddity.TRAILING_BYTES} if has_tail else set()
    return replace(header, is_deflated=True, oddities=header.oddities - unknown | cut)


class Inflated(NamedTuple):
    """The beginning of an inflated data set; whether its deflated stream is complete, and whether more follows it."""

    data: bytearray
    is_whole: bool
    has_tail: bool = False


def inflate(buffer: Buffer, limits: ScanLimits = LIMITS) -> Inflated:
    """Return the first MAX_INFLATED_HEADER_BYTES of a deflated data set, and what is known of the end of its stream.

    The rest is inflated too, and dropped, so that the limits hold for later readers of the whole.
    Raises Rejected(TOO_INFLATED or BAD_DEFLATE).
    """
    limit = min(limits.inflated_bytes, limits.inflate_ratio * len(buffer))
    stream, kept, size, taken = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 0, 0
    for taken, piece in _inflated(stream, buffer):  # noqa: B007 (the last one is used)
        size += len(piece)
        if size > limit:
            raise Rejected(Reason.TOO_INFLATED.value)
        kept += piece[: MAX_INFLATED_HEADER_BYTES - len(kept)]
    left = len(buffer) - taken + len(stream.unused_data)
    return Inflated(kept, stream.eof, stream.eof and left > DEFLATE_PADDING_BYTES)


def _inflated(stream: Any, buffer: Buffer) -> Iterator[tuple[int, bytes]]:
    """Yield how many bytes of the buffer the stream was given, and what came out of them."""
    taken = 0
    try:
        while taken < len(buffer) and not stream.eof:
            rest = bytes(buffer[taken : taken + INFLATE_STEP_BYTES])
            taken += len(rest)
            while rest and not stream.eof:
                yield taken, stream.decompress(rest, INFLATED_PIECE_BYTES)
                rest = stream.unconsumed_tail
        yield taken, stream.flush()
    except zlib.error:
        raise Rejected(Reason.BAD_DEFLATE.value) from None


class _IllFormed(Exception):
    """The sequence or item being walked through does not have the form that its header declares."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class _Syntax:
    """How elements are written: readers of their headers, and tags and VRs as the numbers that the readers return."""

    order: str
    is_explicit: bool
    element: Callable[..., tuple[Any, ...]]
    tag_and_length: Callable[..., tuple[Any, ...]]
    length: Callable[..., tuple[Any, ...]]
    short_vrs: dict[int, str]
    long_vrs: dict[int, str]
    item: int
    item_end: int
    sequence_end: int
    pixels: frozenset[int]


def _syntax(order: str, *, is_explicit: bool) -> _Syntax:
    read = {text: struct.Struct(order + text).unpack_from for text in ("IHH", "II", "I")}
    vr_order: Any = "big" if order == ">" else "little"
    short, long = ({int.from_bytes(name.encode(), vr_order): name for name in names} for names in (SHORT_VRS, LONG_VRS))
    item, item_end, sequence_end = (_as_read(tag, order) for tag in (ITEM, ITEM_END, SEQUENCE_END))
    pixels = frozenset(_as_read(tag, order) for tag in PIXEL_TAGS)
    first = read["IHH" if is_explicit else "II"]
    return _Syntax(order, is_explicit, first, read["II"], read["I"], short, long, item, item_end, sequence_end, pixels)


def _as_read(tag: int, order: str) -> int:
    """Return the 32-bit number that a tag's bytes are in this byte order: group and element have 16 bits each."""
    return tag if order == ">" else (tag & 0xFFFF) << 16 | tag >> 16


IMPLICIT_LITTLE = _syntax("<", is_explicit=False)
EXPLICIT_LITTLE = _syntax("<", is_explicit=True)
IMPLICIT_BIG = _syntax(">", is_explicit=False)
EXPLICIT_BIG = _syntax(">", is_explicit=True)
SYNTAXES = {IMPLICIT_VR_LITTLE_ENDIAN: IMPLICIT_LITTLE, EXPLICIT_VR_BIG_ENDIAN: EXPLICIT_BIG}
IMPLICIT_OF = {
    EXPLICIT_LITTLE: IMPLICIT_LITTLE,
    EXPLICIT_BIG: IMPLICIT_BIG,
    IMPLICIT_LITTLE: IMPLICIT_LITTLE,
    IMPLICIT_BIG: IMPLICIT_BIG,
}


def _actual_syntax(buffer: Buffer, declared: _Syntax) -> tuple[_Syntax, set[Oddity]]:
    """Return the syntax that the first element is written in: some writers declare another."""
    vr = bytes(buffer[4:6])
    if declared.is_explicit and len(vr) == 2 and not _is_capitals(vr):  # noqa: PLR2004
        return IMPLICIT_OF[declared], {Oddity.OTHER_VR_ENCODING}
    if not declared.is_explicit and vr.decode("latin-1") in ALL_VRS:
        return EXPLICIT_LITTLE, {Oddity.OTHER_VR_ENCODING}
    return declared, set()


def _is_capitals(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


@cache
def _watched(wanted: frozenset[int], order: str) -> dict[int, int]:
    """Return the tags at which the scan keeps a value or ends, by the numbers that their bytes are read as."""
    return {_as_read(tag, order): tag for tag in (*wanted, *PIXEL_TAGS)}


@cache
def _rest_bits(order: str) -> dict[int, int]:
    """Return the bits that no whole values' length has, by the numbers that the bytes of tags are read as."""
    return {_as_read(tag, order): bits for tag, bits in rest_bits_by_tag().items()}


@cache
def _pieces(elements: int) -> tuple[Sequence[int], ...]:
    """Return the numbers of so many elements, in pieces."""
    return tuple(in_pieces(range(elements)))


@cache
def _read_sequences(wanted: frozenset[int], order: str) -> dict[int, int]:
    return {_as_read(tag, order): tag for tag in wanted & READ_SEQUENCES}


class _Kind(Enum):
    """The contents of a level of nesting: items, elements, or fragments, which are items that are jumped over."""

    SEQUENCE = auto()
    ITEM = auto()
    FRAGMENTS = auto()


class _Level(NamedTuple):
    """One level of nesting: `end` is where it ends at the latest, `is_open` if a delimiter ends it."""

    kind: _Kind
    end: int
    is_open: bool
    syntax: _Syntax


class _Scan:
    """One pass over a data set: `walk`, once. Values of at most `small_bytes` cannot be too deep and are jumped over."""

    def __init__(
        self, buffer: Buffer, syntax: _Syntax, wanted: frozenset[int], limits: ScanLimits, small_bytes: int
    ) -> None:
        self.buffer = buffer
        self.syntax = syntax
        self.limits = limits
        self.small_bytes = small_bytes
        self.values: dict[int, ValueSpan] = {}
        self.pixels: Pixels | None = None
        self.oddities: set[Oddity] = set()
        # What was counted; `steps` is the number of steps in sequences since the last piece of work ended.
        self.items = self.elements = self.steps = 0
        self.sequences = _read_sequences(wanted, syntax.order)
        self.watched = _watched(wanted, syntax.order)

    def walk(self) -> Pieces[int]:
        """Walk over the data set; return where Pixel Data or everything ends. Raises Rejected."""
        walk = self._walk_explicit if self.syntax.is_explicit else self._walk_implicit
        return walk(self.syntax, self.watched)

    def _walk_explicit(self, syntax: _Syntax, watched: dict[int, int]) -> Pieces[int]:
        """Walk over the elements of the data set itself; return where Pixel Data or everything ends.

        The hot path: it needs no check of bounds, because reading the next header beyond the last byte fails.
        """
        buffer, values, element, pixels = self.buffer, self.values, syntax.element, syntax.pixels
        short_vr, small_bytes, position, lengths, count = syntax.short_vrs.get, self.small_bytes, 0, 0, 0
        rest_bits, rests = REST_BITS.get, 0
        try:
            for piece in _pieces(self.limits.elements + 1):
                for count in piece:  # noqa: B007 (counted for `finally`)
                    tag, number, length = element(buffer, position)
                    vr, start = short_vr(number), position + 8
                    if vr is None:
                        vr, start, length = self._long_form(position, tag, number, length, syntax)
                        if length > small_bytes and tag not in pixels:
                            tag, length = yield from self._consume(tag, vr, start, length, syntax)
                    if tag in watched:
                        if tag in pixels:
                            return self._at_pixels(Pixels(watched[tag], vr, start, length), position)
                        values[watched[tag]] = (vr, start, length)
                    lengths |= length
                    rests |= length & rest_bits(vr, 0)
                    position = start + length
                yield
        except struct.error:
            return self._at_end(position)
        finally:
            self._note(count, lengths, rests)
        raise Rejected(Reason.TOO_MANY_ELEMENTS.value)

    def _walk_implicit(self, syntax: _Syntax, watched: dict[int, int]) -> Pieces[int]:
        """Walk over the elements of a data set without VRs; return where Pixel Data or everything ends."""
        buffer, values, element, pixels = self.buffer, self.values, syntax.element, syntax.pixels
        small_bytes, position, lengths, count = self.small_bytes, 0, 0, 0
        rest_bits, rests = _rest_bits(syntax.order).get, 0
        try:
            for piece in _pieces(self.limits.elements + 1):
                for count in piece:  # noqa: B007 (counted for `finally`)
                    tag, length = element(buffer, position)
                    start = position + 8
                    if length > small_bytes and tag not in pixels:
                        tag, length = yield from self._consume(tag, "", start, length, syntax)
                    if tag in watched:
                        if tag in pixels:
                            return self._at_pixels(Pixels(watched[tag], "", start, length), position)
                        values[watched[tag]] = ("", start, length)
                    lengths |= length
                    rests |= length & rest_bits(tag, 0)
                    position = start + length
                yield
        except struct.error:
            return self._at_end(position)
        finally:
            self._note(count, lengths, rests)
        raise Rejected(Reason.TOO_MANY_ELEMENTS.value)

    def _note(self, elements: int, lengths: int, rests: int) -> None:
        """Count elements, and note whether one of their lengths is odd, or no multiple of its VR's size.

        `lengths` and `rests`, the bits of lengths that no number of whole values has, are those of all, combined by or.
        """
        self.elements += elements
        if rests:
            self.oddities.add(Oddity.NUMBER_LENGTH)
        if lengths & 1:
            self.oddities.add(Oddity.ODD_LENGTH)

    def _at_pixels(self, pixels: Pixels, position: int) -> int:
        if pixels.length == UNDEFINED:
            self.pixels = pixels._replace(length=None)
            return position
        self.pixels, length = pixels, pixels.length or 0
        self._note(0, length, length & REST_BITS.get(pixels.vr, 0))
        end = pixels.start + length
        if end > len(self.buffer):
            self.oddities.add(Oddity.TRUNCATED_PIXELS)
        elif end < len(self.buffer) and not _are_elements(self.buffer, end, pixels.tag, self.syntax):
            self.oddities.add(Oddity.TRAILING_BYTES)
        return position

    def _at_end(self, position: int) -> int:
        left = len(self.buffer) - position
        # Fewer bytes than an element has are padding, or the beginning of an element: then the rest is missing.
        if left < 0 or left >= SMALLEST_BYTES or bytes(self.buffer[position:]).strip(PADDING):
            raise Rejected(Reason.TRUNCATED_HEADER.value)
        if left:
            self.oddities.add(Oddity.TRAILING_BYTES)
        return len(self.buffer)

    def _long_form(self, position: int, tag: int, number: int, length: int, syntax: _Syntax) -> tuple[str, int, int]:
        """Return VR, start of value and length of an explicit element that has no 16-bit length."""
        vr = syntax.long_vrs.get(number)
        if vr is not None:
            return vr, position + 12, syntax.length(self.buffer, position + 8)[0]
        name = bytes(self.buffer[position + 4 : position + 6])
        if _is_capitals(name):
            self.oddities.add(Oddity.UNEXPECTED_VR)
            if length:
                return name.decode(), position + 8, length
            # PS3.5 7.1.2: every future VR has two reserved bytes and a 32-bit length.
            return name.decode(), position + 12, syntax.length(self.buffer, position + 8)[0]
        is_delimiter = tag in (syntax.item_end, syntax.sequence_end)
        self.oddities.add(Oddity.STRAY_DELIMITER if is_delimiter else Oddity.OTHER_VR_ENCODING)
        return "", position + 8, syntax.length(self.buffer, position + 4)[0]

    def _consume(self, tag: int, vr: str, start: int, length: int, syntax: _Syntax) -> Pieces[tuple[int, int]]:
        """Walk through a value that may be a sequence; return its tag and its actual length.

        A value of undefined length gets the tag of an item, which is never wanted, so that the caller keeps no value.
        The location of a sequence in READ_SEQUENCES is kept here, its end marker included.
        """
        if length == UNDEFINED:
            end = yield from self._walk(_level(self.buffer, vr, start, (True, len(self.buffer)), syntax), start)
            if tag in self.sequences:
                self.values[self.sequences[tag]] = (vr, start, end - start)
            return syntax.item, end - start
        end = start + length
        if end <= len(self.buffer) and _is_sequence(self.buffer, vr, start):
            yield from self._walk(_level(self.buffer, vr, start, (False, end), syntax), start)
        return tag, length

    def _walk(self, level: _Level, position: int) -> Pieces[int]:
        """Walk through a sequence and everything in it; return the position after it.

        After a fault, go on at the end of the innermost level of defined length; without one reject the data set.
        """
        stack, steps = [level], self.steps
        while stack:
            steps += 1
            if steps > PIECE_STEPS:
                steps = 0
                yield
            try:
                position = self._step(stack, position)
            except struct.error:
                position = _leave(stack, Reason.TRUNCATED_HEADER)
            except _IllFormed as ill_formed:
                position = _leave(stack, ill_formed.reason)
        self.steps = steps
        return position

    def _step(self, stack: list[_Level], position: int) -> int:
        kind, end, is_open, _ = stack[-1]
        if position < end:
            return self._in_item(stack, position) if kind is _Kind.ITEM else self._in_sequence(stack, position)
        if is_open:
            raise _IllFormed(Reason.TRUNCATED_HEADER if end == len(self.buffer) else Reason.BAD_SEQUENCE)
        stack.pop()
        return end

    def _in_sequence(self, stack: list[_Level], position: int) -> int:
        """Enter or jump over an item, or leave the sequence."""
        kind, end, is_open, syntax = stack[-1]
        tag, length = syntax.tag_and_length(self.buffer, position)
        start = position + 8
        if tag == syntax.sequence_end and is_open:
            stack.pop()
            return start
        if tag != syntax.item:
            raise _IllFormed(Reason.BAD_SEQUENCE)
        self.items += 1
        if self.items > self.limits.items:
            raise Rejected(Reason.TOO_MANY_ITEMS.value)
        is_item_open: bool = length == UNDEFINED
        if kind is _Kind.FRAGMENTS:
            return _end_of_value(self.buffer, start, length, end)
        item_end = end if is_item_open else _end_of_value(self.buffer, start, length, end)
        if not is_item_open and length <= self._small(stack):
            return item_end
        stack.append(_Level(_Kind.ITEM, item_end, is_item_open, _item_syntax(self.buffer, start, syntax)))
        return start

    def _in_item(self, stack: list[_Level], position: int) -> int:
        """Jump over an element, enter it when it is a sequence, or leave the item."""
        _, end, is_open, syntax = stack[-1]
        vr, start = "", position + 8
        if syntax.is_explicit:
            tag, number, length = syntax.element(self.buffer, position)
            known = syntax.short_vrs.get(number)
            if known is None and tag != syntax.item_end:
                vr, start, length = self._long_form(position, tag, number, length, syntax)
        else:
            tag, length = syntax.tag_and_length(self.buffer, position)
        if tag == syntax.item_end and is_open:
            stack.pop()
            return position + 8
        self.elements += 1
        if self.elements > self.limits.elements:
            raise Rejected(Reason.TOO_MANY_ELEMENTS.value)
        if length == UNDEFINED:
            return self._enter(stack, _level(self.buffer, vr, start, (True, end), syntax), start)
        value_end: int = _end_of_value(self.buffer, start, length, end)
        if length > self._small(stack) and _is_sequence(self.buffer, vr, start):
            return self._enter(stack, _level(self.buffer, vr, start, (False, value_end), syntax), start)
        return value_end

    def _enter(self, stack: list[_Level], level: _Level, start: int) -> int:
        if len(stack) >= 2 * self.limits.depth:
            raise Rejected(Reason.TOO_DEEP.value)
        stack.append(level)
        return start

    def _small(self, stack: list[_Level]) -> int:
        """Return the size up to which a value here cannot be nested too deep.

        A sequence and its item are two levels on the stack, and one level of nesting.
        """
        return max(0, self.small_bytes - (len(stack) + 1) // 2 * SMALLEST_LEVEL_BYTES)


class _ItemScan(_Scan):
    """A pass over one sequence: `found` has the locations of the wanted values, for each item."""

    def __init__(self, header: Header, value: ValueSpan, wanted: frozenset[int]) -> None:
        vr, start, length = value
        syntax = (EXPLICIT_LITTLE if vr else IMPLICIT_LITTLE) if header.order == "<" else EXPLICIT_BIG
        self.buffer, self.limits, self.small_bytes = header.data, LIMITS, 0
        self.oddities: set[Oddity] = set()
        self.items = self.elements = self.steps = 0
        self.wanted = {_as_read(tag, syntax.order): tag for tag in wanted}
        self.found: list[dict[int, ValueSpan]] = []
        self.level, self.start = _level(self.buffer, vr, start, (True, start + length), syntax), start

    def walk(self) -> Pieces[int]:
        """Walk over the sequence; an ill-formed item ends the pass."""
        with suppress(Rejected):
            yield from self._walk(self.level, self.start)
        return self.start

    def _small(self, stack: list[_Level]) -> int:
        # Only the items of the sequence itself are read: deeper values of defined length are jumped over.
        return 0 if len(stack) == 1 else UNDEFINED

    def _in_sequence(self, stack: list[_Level], position: int) -> int:
        if len(stack) == 1 and stack[0].syntax.tag_and_length(self.buffer, position)[0] == stack[0].syntax.item:
            self.found.append({})
        return super()._in_sequence(stack, position)

    def _in_item(self, stack: list[_Level], position: int) -> int:
        syntax = stack[-1].syntax
        if len(stack) == 2:  # noqa: PLR2004 (the sequence and its item)
            tag, length = syntax.tag_and_length(self.buffer, position)
            vr, start = "", position + 8
            if syntax.is_explicit and tag in self.wanted:
                _, number, length = syntax.element(self.buffer, position)
                vr = syntax.short_vrs.get(number, "")
                if not vr:
                    vr, start, length = self._long_form(position, tag, number, length, syntax)
            if tag in self.wanted and length != UNDEFINED:
                self.found[-1][self.wanted[tag]] = (vr, start, length)
        return super()._in_item(stack, position)


def is_tail(buffer: Buffer, position: int, pixels: Pixels) -> bool:
    """True if what follows encapsulated pixels is nothing, or elements, to the end of the data set."""
    syntax = EXPLICIT_LITTLE if pixels.vr else IMPLICIT_LITTLE
    return position == len(buffer) or _are_elements(buffer, position, pixels.tag, syntax)


def _are_elements(buffer: Buffer, position: int, before: int, syntax: _Syntax) -> bool:
    """True if elements of rising tags fill the bytes from here on; only the first TAIL_ELEMENTS are looked at."""
    with suppress(struct.error):
        for _ in range(TAIL_ELEMENTS):
            tag, start, length = _element_at(buffer, position, syntax)
            if tag <= before or (length != UNDEFINED and start + length > len(buffer)):
                return False
            if length == UNDEFINED or start + length == len(buffer):
                return True
            position, before = start + length, tag
        return True
    return False


def _element_at(buffer: Buffer, position: int, syntax: _Syntax) -> tuple[int, int, int]:
    """Return tag, start of value and length of an element; the tag is -1 if its VR is none of the standard."""
    if not syntax.is_explicit:
        tag, length = syntax.element(buffer, position)
        return _as_read(tag, syntax.order), position + 8, length
    tag, number, length = syntax.element(buffer, position)
    if number in syntax.short_vrs:
        return _as_read(tag, syntax.order), position + 8, length
    is_long = number in syntax.long_vrs
    return _as_read(tag, syntax.order) if is_long else -1, position + 12, syntax.length(buffer, position + 8)[0]


def scanning_items(header: Header, tag: int, wanted: frozenset[int]) -> Pieces[Sequence[dict[int, ValueSpan]]]:
    """Return where the wanted values lie, for each item of a sequence in READ_SEQUENCES that the scan was asked for.

    Empty for a sequence that is absent or longer than MAX_SEQUENCE_BYTES. For an ill-formed sequence, the items before
    the fault.
    """
    value = header.values.get(tag)
    if value is None or value[2] > MAX_SEQUENCE_BYTES:
        return ()
    found = _ItemScan(header, value, wanted)
    yield from found.walk()
    return found.found


def _level(buffer: Buffer, vr: str, start: int, bound: tuple[bool, int], syntax: _Syntax) -> _Level:
    """Return the level of a sequence's value; `bound` is if a delimiter ends it, and where it ends at the latest."""
    is_open, end = bound
    if syntax.order == ">" and bytes(buffer[start : start + 4]) == LITTLE_ITEM:
        syntax = IMPLICIT_LITTLE  # PS3.5 6.2.2: UN of undefined length is written so, whatever the data set's syntax
    return _Level(_Kind.FRAGMENTS if is_open and vr in OPAQUE_VRS else _Kind.SEQUENCE, end, is_open, syntax)


def _item_syntax(buffer: Buffer, start: int, syntax: _Syntax) -> _Syntax:
    """Return how an item is written: without VRs in UN (PS3.5 6.2.2), and by some writers in other sequences too."""
    vr = bytes(buffer[start + 4 : start + 6])
    return syntax if syntax.is_explicit and _is_capitals(vr) else IMPLICIT_OF[syntax]


def _is_sequence(buffer: Buffer, vr: str, start: int) -> bool:
    """True if a value of defined length is a sequence; under UN and implicit VR only its first bytes show it."""
    return vr == "SQ" or (vr in {"", "UN"} and bytes(buffer[start : start + 4]) in {LITTLE_ITEM, BIG_ITEM})


def _end_of_value(buffer: Buffer, start: int, length: int, end: int) -> int:
    """Return where a value ends; raises _IllFormed when that is beyond the end of its level."""
    if start + length > end:
        raise _IllFormed(Reason.TRUNCATED_HEADER if start + length > len(buffer) else Reason.BAD_SEQUENCE)
    return start + length


def _leave(stack: list[_Level], reason: Reason) -> int:
    """Leave the innermost level of defined length; return where it ends."""
    while stack:
        level = stack.pop()
        if not level.is_open:
            return level.end
    raise Rejected(reason.value)
