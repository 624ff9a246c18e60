"""The palette of a PALETTE COLOR image: three look-up tables, plain or segmented.

Source: PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import Rejected
from operators.imaging.reasons import BAD_PALETTE
from operators.imaging.tables import BYTE, TableDescriptor, plain_entries

DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Palette:
    """A colour for each value, the first for the value `first`: uint8, (entries, 3), red, green, blue."""

    first: int
    colours: NDArray[np.uint8] = field(repr=False)

    def mapped(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Return each sample's colour: uint8, (rows, columns, 3); samples outside the palette get its end's colour."""
        index = np.clip(samples.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        return self.colours[index]


def palette_column(plain: bytes, segmented: bytes, descriptor: TableDescriptor) -> NDArray[np.uint8]:
    """Return the intensities of one colour, from its plain or, if there is one, its segmented table.

    Raises Rejected(BAD_PALETTE) when entries are missing: colours that are not there cannot be guessed.
    """
    if descriptor.bits not in (BYTE, 2 * BYTE):
        raise Rejected(BAD_PALETTE)
    if segmented:
        return eight_bit_entries(segmented_entries(segmented, descriptor), descriptor)
    descriptor, entries = plain_entries(plain, descriptor)
    if len(entries) < descriptor.entries:
        raise Rejected(BAD_PALETTE)
    return eight_bit_entries(entries, descriptor)


def eight_bit_entries(entries: NDArray[np.uint16], descriptor: TableDescriptor) -> NDArray[np.uint8]:
    """Return the entries as 8-bit intensities; 16-bit entries whose upper bytes are all 0 count as 8-bit entries."""
    is_short = descriptor.bits == BYTE or int(entries.max(initial=0)) <= 0xFF  # noqa: PLR2004
    return (entries if is_short else entries >> 8).astype(np.uint8)


def segmented_entries(data: bytes, descriptor: TableDescriptor) -> NDArray[np.uint16]:
    """Return the entries of a segmented table (PS3.3 C.7.9.2.2); raises Rejected(BAD_PALETTE)."""
    kind = "<u2" if descriptor.bits > BYTE else "u1"
    size = np.dtype(kind).itemsize
    words = np.frombuffer(data[: len(data) // size * size], kind).astype(np.int64).tolist()
    entries, position = list[int](), 0
    try:
        while len(entries) < descriptor.entries:
            position = _segment(words, position, entries, descriptor)
    except IndexError:
        raise Rejected(BAD_PALETTE) from None
    return np.array(entries[: descriptor.entries], np.uint16)


def _segment(words: Sequence[int], position: int, entries: list[int], descriptor: TableDescriptor) -> int:
    """Append the entries of the segment at this position; return the position of the next.

    Raises IndexError when the data ends early, and Rejected(BAD_PALETTE).
    """
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
    return _indirect_segment(words, position, entries, descriptor)


def _indirect_segment(words: Sequence[int], position: int, entries: list[int], descriptor: TableDescriptor) -> int:
    """Append the entries of the earlier segments that an indirect segment repeats; return the position of the next."""
    # The offset of the first repeated segment has 32 bits, the lowest word first. It counts bytes, whatever an entry has.
    end = position + 2 + 4 * BYTE // descriptor.bits
    offset = sum(word << index * descriptor.bits for index, word in enumerate(words[position + 2 : end]))
    repeated, rest = divmod(offset, descriptor.bits // BYTE)
    if rest:
        raise Rejected(BAD_PALETTE)
    for _ in range(words[position + 1]):
        # An indirect segment that repeats an indirect segment could loop forever.
        if words[repeated] == INDIRECT:
            raise Rejected(BAD_PALETTE)
        if len(entries) < descriptor.entries:
            repeated = _segment(words, repeated, entries, descriptor)
    return end
