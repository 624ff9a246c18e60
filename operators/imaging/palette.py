"""PALETTE COLOR: three look-up tables, plain or segmented (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import Rejected
from operators.imaging.reasons import BAD_PALETTE

MOST_ENTRIES = 1 << 16
BYTE = 8
DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours from the first mapped value on: uint8, (entries, 3), red, green, blue."""

    first: int
    colours: NDArray[np.uint8] = field(repr=False)

    def mapped(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Return each sample's colour: uint8, (rows, columns, 3); values beyond the ends get the first or the last."""
        index = np.clip(samples.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        return self.colours[index]


@dataclass(frozen=True)
class Descriptor:
    """How many entries a table has, the first value it maps, the bits of an entry."""

    entries: int
    first: int
    bits: int

    @classmethod
    def of(cls, numbers: Sequence[int], *, is_signed: bool) -> "Descriptor":
        """Read the three numbers: 0 entries are 65536, the first value has the sign of the samples.

        Raises Rejected(BAD_PALETTE).
        """
        if len(numbers) != len(("entries", "first", "bits")):
            raise Rejected(BAD_PALETTE)
        entries, first, bits = (int(number) & 0xFFFF for number in numbers)
        if bits not in (BYTE, 2 * BYTE):
            raise Rejected(BAD_PALETTE)
        return cls(entries or MOST_ENTRIES, first - (1 << 16) if is_signed and first >= 1 << 15 else first, bits)


def table(data: bytes, descriptor: Descriptor, order: str) -> NDArray[np.uint16]:
    """Return a table's entries: 8-bit ones lie in bytes, by some writers each in a word of its own.

    Raises Rejected(BAD_PALETTE) when entries are missing.
    """
    in_words = descriptor.bits > BYTE or len(data) >= 2 * descriptor.entries
    kind = f"{order}u2" if in_words else "u1"
    entries = np.frombuffer(data[: len(data) // 2 * 2] if in_words else data, kind)[: descriptor.entries]
    if len(entries) < descriptor.entries:
        raise Rejected(BAD_PALETTE)
    return entries.astype(np.uint16)


def eight_bits(entries: NDArray[np.uint16], descriptor: Descriptor) -> NDArray[np.uint8]:
    """Return the entries as 8-bit intensities; 16-bit ones that use no upper byte are 8-bit ones already."""
    is_short = descriptor.bits == BYTE or int(entries.max(initial=0)) <= 0xFF  # noqa: PLR2004
    return (entries if is_short else entries >> 8).astype(np.uint8)


def expanded(data: bytes, descriptor: Descriptor, order: str) -> NDArray[np.uint16]:
    """Return the entries of a segmented table (PS3.3 C.7.9.2.2); raises Rejected(BAD_PALETTE)."""
    kind = f"{order}u2" if descriptor.bits > BYTE else "u1"
    size = np.dtype(kind).itemsize
    words = np.frombuffer(data[: len(data) // size * size], kind).astype(np.int64).tolist()
    entries, position = list[int](), 0
    try:
        while len(entries) < descriptor.entries:
            position = _segment(words, position, entries, descriptor)
    except IndexError:
        raise Rejected(BAD_PALETTE) from None
    return np.array(entries[: descriptor.entries], np.uint16)


def _segment(words: Sequence[int], position: int, entries: list[int], descriptor: Descriptor) -> int:
    """Append one segment's entries; give where the next begins. Raises IndexError where words are missing."""
    code, length = words[position], words[position + 1]
    if code == DISCRETE:
        entries.extend(words[position + 2 : position + 2 + length])
        return position + 2 + length
    if code == LINEAR and entries and length:
        steps = np.linspace(entries[-1], words[position + 2], length + 1)[1:]
        entries.extend(np.rint(steps).astype(int).tolist())
        return position + 3
    if code != INDIRECT:
        raise Rejected(BAD_PALETTE)
    pieces = 4 * BYTE // descriptor.bits  # the offset has 32 bits, lowest first
    offset = words[position + 2 : position + 2 + pieces]
    at = sum(word << place * descriptor.bits for place, word in enumerate(offset))
    for _ in range(length):
        if words[at] == INDIRECT:  # one within another could have no end
            raise Rejected(BAD_PALETTE)
        if len(entries) < descriptor.entries:
            at = _segment(words, at, entries, descriptor)
    return position + 2 + pieces
