"""Elements and items in Explicit VR Little Endian, written by hand, so that their lengths may be wrong."""

import struct

# The VRs whose length takes four bytes (PS3.5 table 7.1-1), as far as tests use them.
LONG = frozenset({"OB", "OV", "OW", "SQ", "UN", "UT"})
# The undefined length.
OPEN = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Return an element; `length` replaces the length of its value."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    written = len(value) if length is None else length
    return head + struct.pack("<xxI" if vr in LONG else "<H", written) + value


def item(value: bytes = b"", length: int | None = None) -> bytes:
    """Return an item of a sequence, or a fragment; `length` replaces the length of its value."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

# Parts of data sets that have a bit of everything: sequences within sequences, of defined and of undefined length.
CODE = element(0x00080100, "SH", b"CODE") + element(0x00080104, "LO", b"Meaning ")
SEQUENCES = element(0x00081032, "SQ", item(CODE + element(0x00081032, "SQ", item(CODE)))) + element(
    0x00081140, "SQ", item(CODE + ITEM_END, OPEN) + item(CODE) + SEQUENCE_END, OPEN
)
# Study and series UID, three frames of 2 x 2 samples of 8 bits, and the creator of a private block.
STUDY_TO_PRIVATE = (
    element(0x0020000D, "UI", b"1.2.3\0")
    + element(0x0020000E, "UI", b"1.2.3.4\0")
    + element(0x00280002, "US", b"\1\0")
    + element(0x00280008, "IS", b"3 ")
    + element(0x00280010, "US", b"\2\0")
    + element(0x00280011, "US", b"\2\0")
    + element(0x00280100, "US", b"\x08\0")
    + element(0x00290010, "LO", b"PRIVATE ")
)
NATIVE = element(0x7FE00010, "OW", bytes(12))
