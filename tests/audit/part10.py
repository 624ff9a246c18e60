"""A reader of the beginning of Part 10 files, which shares no line with the archive's own reader."""

import struct
from typing import NamedTuple

LONG_VRS = (b"OB", b"UN", b"OW", b"SQ", b"UT")
DEFLATED = (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.95", b"1.2.840.10008.1.2.4.205")


class Meta(NamedTuple):
    """The length of preamble and file meta, and three of the file meta's elements, empty where they are absent."""

    length: int
    transfer_syntax: str
    sop_class: str
    sop_uid: str


def read_meta(data: bytes) -> Meta:
    """Read preamble and file meta; raises ValueError when the bytes are no Part 10 file.

    The file meta ends where another group begins; where its group length says, only if a deflated data set, which may
    begin with any bytes, can follow (PS3.10 7.1).
    """
    if data[128:132] != b"DICM":
        raise ValueError("no preamble")
    at, end, said = 132, len(data), dict[int, bytes]()
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\x00":
        if at >= end and said.get(0x10, b"").rstrip(b"\0 ") in DEFLATED and not data[at + 4 : at + 6].isupper():
            break
        number, start, length = element(data, at)
        said[number] = data[start : start + length]
        at = start + length
        if number == 0 and length == 4:
            end = at + struct.unpack("<I", said[number])[0]
    if at > len(data):
        raise ValueError("the file meta is cut short")
    syntax, sop_class, sop_uid = (said.get(number, b"").rstrip(b"\0 ").decode("latin-1") for number in (0x10, 2, 3))
    if not syntax.replace(".", "").isdecimal():
        raise ValueError("no transfer syntax")
    return Meta(at, syntax, sop_class, sop_uid)


def element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's number, and where its value starts and how long it is; some writers leave out the VR."""
    _, number, vr, length = struct.unpack_from("<HH2sH", data, at)
    if vr in LONG_VRS:
        return number, at + 12, int(struct.unpack_from("<I", data, at + 8)[0])
    if not vr.isalpha():
        return number, at + 8, int(struct.unpack_from("<I", data, at + 4)[0])
    return number, at + 8, length
