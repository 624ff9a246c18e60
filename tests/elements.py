"""Elements and items in Explicit VR Little Endian, written by hand: what they say of their length need not be so."""

import struct

# VRs whose length takes four bytes (PS3.5 table 7.1-1), of those that tests write.
LONG = frozenset({"OB", "OV", "OW", "SQ", "UN", "UT"})
# The undefined length.
OPEN = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Give an element; `length` is what it says in place of its value's."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    written = len(value) if length is None else length
    return head + struct.pack("<xxI" if vr in LONG else "<H", written) + value


def item(value: bytes = b"", length: int | None = None) -> bytes:
    """Give an item of a sequence, or a fragment; `length` as above."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
