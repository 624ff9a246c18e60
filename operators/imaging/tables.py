"""Look-up tables of every kind: Modality LUT, VOI LUT and palette have descriptors and data of one form.

Source: PS3.3 C.7.6.3.1.5 (palette), C.11.1.1 (Modality LUT), C.11.2.1.1 (VOI LUT), PS3.5 8.1.1 (bytes in words).
"""

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from operators.imaging.decoding.pixels import swapped
from operators.imaging.values import raw_of

Entries = NDArray[np.uint16]

MOST_ENTRIES = 1 << 16
BYTE = 8
DESCRIPTOR = "3H"


@dataclass(frozen=True)
class TableDescriptor:
    """The number of entries of a table, the first value that it maps, and the bits of an entry."""

    entries: int
    first: int
    bits: int


def read_descriptor(data_set: Dataset, keyword: str, inputs: tuple[float, float]) -> TableDescriptor | None:
    """Return the descriptor in three 16-bit numbers; None if it has another form, or bits that no entry has.

    `inputs` are the lowest and the highest value that the table may have to map. 0 entries mean 65536.
    """
    raw = raw_of(data_set, keyword)
    if raw is None or len(raw.value) != struct.calcsize(f"={DESCRIPTOR}"):
        return None
    entries, first, bits = struct.unpack(raw.order + DESCRIPTOR, raw.value)
    if not 1 <= bits <= 2 * BYTE:
        return None
    return TableDescriptor(entries or MOST_ENTRIES, _first_mapped(first, raw.vr, inputs), bits)


def _first_mapped(word: int, vr: str, inputs: tuple[float, float]) -> int:
    """Return the first value mapped, with its sign: that of its own VR, else of what comes into the table.

    Implicit VR leaves the sign open: it is that of the inputs, after a rescale too. Many writers say US whatever the
    sign, so an unsigned value beyond all inputs is signed.
    """
    low, high = inputs
    is_negative = vr == "SS" or word > high or (vr != "US" and low < 0)
    return word - MOST_ENTRIES if is_negative and word >= MOST_ENTRIES // 2 else word


def table_bytes(data_set: Dataset, keyword: str) -> bytes:
    """Return a table's data as its little-endian words or bytes, whatever its VR; empty when it is absent."""
    raw = raw_of(data_set, keyword)
    if raw is None:
        return b""
    if raw.order == "<" or raw.vr in ("OB", "UN"):
        return raw.value
    return swapped(raw.value[: len(raw.value) // 2 * 2])


def plain_entries(data: bytes, descriptor: TableDescriptor) -> tuple[TableDescriptor, Entries]:
    """Return the entries that are there, at most as many as the descriptor says, and the descriptor with their bits.

    Entries of 8 bits are single bytes, but some writers put each of them into a word; and some have single bytes where
    the descriptor says more bits: then the length tells (as in dcmtk).
    """
    count = descriptor.entries
    are_bytes = len(data) < 2 * count if descriptor.bits <= BYTE else len(data) in {count, count + count % 2}
    if are_bytes and count > 1:
        entries: NDArray[Any] = np.frombuffer(data, np.uint8)
        descriptor = replace(descriptor, bits=min(descriptor.bits, BYTE))
    else:
        entries = np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    return descriptor, entries[:count].astype(np.uint16)
