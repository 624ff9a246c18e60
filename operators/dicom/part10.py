"""The preamble and file meta at the beginning of a Part 10 file: write ours, and read any sender's (PS3.10 7.1)."""

import struct
from typing import NamedTuple

from operators.dicom.reasons import Reason
from operators.dicom.scan import ALL_VRS, LONG_VRS, Buffer
from operators.dicom.transfer_syntaxes import DEFLATED
from operators.errors import Rejected
from schemas.objects import is_uid

IMPLEMENTATION_CLASS_UID = "2.25.126422593918164961863054490869457189904"
IMPLEMENTATION_VERSION_NAME = "FLUORO_1"

PREAMBLE = bytes(128)
MAGIC = b"DICM"
META_START = len(PREAMBLE) + len(MAGIC)
META_GROUP = 0x0002
ELEMENT_HEADER = struct.Struct("<HH2sH")
UL_BYTES = 4
# The element number of (0002,0010) Transfer Syntax UID.
TRANSFER_SYNTAX = 0x0010

MAX_META_ELEMENTS = 1000
MAX_META_BYTES = 1 << 20
MAX_UID_BYTES = 128
# File meta that has not ended within this many bytes of a file is never accepted.
MAX_BEGINNING_BYTES = META_START + MAX_META_BYTES + 64 * 1024


class FileMeta(NamedTuple):
    """The file meta of a Part 10 file: `prefix_length` is where it ends; a UID that is absent is empty."""

    prefix_length: int
    transfer_syntax: str
    sop_class: str
    sop_uid: str


def part10_prefix(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Return our preamble and file meta: the same bytes for the same three UIDs.

    Raises Rejected(NO_USABLE_UID) when one of them is no UID.
    """
    if not (is_uid(sop_class) and is_uid(sop_uid) and is_uid(transfer_syntax)):
        raise Rejected(Reason.NO_USABLE_UID.value)
    meta = (
        struct.pack("<HH2sxxI2s", META_GROUP, 0x0001, b"OB", 2, b"\x00\x01")
        + _element(0x0002, b"UI", sop_class, "\0")
        + _element(0x0003, b"UI", sop_uid, "\0")
        + _element(TRANSFER_SYNTAX, b"UI", transfer_syntax, "\0")
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, "\0")
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, " ")
    )
    return PREAMBLE + MAGIC + struct.pack("<HH2sHI", META_GROUP, 0x0000, b"UL", UL_BYTES, len(meta)) + meta


def _element(element: int, vr: bytes, text: str, padding: str) -> bytes:
    value = (text + padding * (len(text) % 2)).encode("ascii")
    return ELEMENT_HEADER.pack(META_GROUP, element, vr, len(value)) + value


def split_part10(buffer: Buffer) -> FileMeta:
    """Read the file meta of a Part 10 file, and find where its data set begins.

    File meta ends where another group begins: all elements of group 0002 belong to it and none to the data set (PS3.10
    7.1, PS3.5 7.1), whatever its group length says, as for pydicom and dcmtk. Only a deflated data set may begin with
    the bytes of that group: there the group length counts, unless a VR follows.
    Raises Rejected(NOT_PART10, TRUNCATED_META or NO_TRANSFER_SYNTAX).
    """
    if bytes(buffer[len(PREAMBLE) : META_START]) != MAGIC:
        raise Rejected(Reason.NOT_PART10.value)
    end, values = _read_values(buffer)
    if end > len(buffer):
        raise Rejected(Reason.TRUNCATED_META.value)
    transfer_syntax = values.get(TRANSFER_SYNTAX, "")
    if not is_uid(transfer_syntax):
        raise Rejected(Reason.NO_TRANSFER_SYNTAX.value)
    return FileMeta(end, transfer_syntax, values.get(0x0002, ""), values.get(0x0003, ""))


def split_incoming_part10(beginning: Buffer, *, is_whole: bool) -> FileMeta | None:
    """Read the file meta from the part of a file that has arrived; None when more bytes may be needed.

    The result is what split_part10 returns for the whole file, unless the file meta is longer than 1 MiB.
    Raises Rejected(NOT_PART10, TRUNCATED_META or NO_TRANSFER_SYNTAX).
    """
    if len(beginning) < META_START and not is_whole:
        return None
    is_final = is_whole or len(beginning) >= MAX_BEGINNING_BYTES
    try:
        found = split_part10(beginning)
    except Rejected as error:
        # More bytes may complete the file meta or bring its transfer syntax, but never the magic word.
        if is_final or error.reason == Reason.NOT_PART10.value:
            raise
        return None
    return found if is_final or found.prefix_length + ELEMENT_HEADER.size <= len(beginning) else None


def _read_values(buffer: Buffer) -> tuple[int, dict[int, str]]:
    """Return where the file meta ends, which may be beyond the buffer, and its values by element number."""
    position, declared, values = META_START, len(buffer), dict[int, str]()
    for _ in range(MAX_META_ELEMENTS):
        if position >= min(len(buffer), META_START + MAX_META_BYTES):
            break
        if position >= declared and not _goes_on(buffer, position, values):
            break
        group, element, start, length = _read_header(buffer, position)
        if group != META_GROUP:
            break
        if element == 0 and length == UL_BYTES:
            declared = start + UL_BYTES + int.from_bytes(bytes(buffer[start : start + UL_BYTES]), "little")
        values[element] = bytes(buffer[start : start + min(length, MAX_UID_BYTES)]).decode("latin-1").rstrip(" \0")
        position = start + length
    return position, values


def _goes_on(buffer: Buffer, position: int, values: dict[int, str]) -> bool:
    """True if bytes after the declared end of the file meta may be another element of it."""
    header = bytes(buffer[position : position + ELEMENT_HEADER.size])
    if len(header) < ELEMENT_HEADER.size:
        return False
    return values.get(TRANSFER_SYNTAX) not in DEFLATED or header[4:6].decode("latin-1") in ALL_VRS


def _read_header(buffer: Buffer, position: int) -> tuple[int, int, int, int]:
    """Return group, element, start of value and length; some writers leave out the VR."""
    try:
        group, element, name, length = ELEMENT_HEADER.unpack_from(buffer, position)
        if group != META_GROUP:
            return group, element, position, 0
        vr = name.decode("latin-1")
        if vr in LONG_VRS:
            return group, element, position + 12, struct.unpack_from("<I", buffer, position + 8)[0]
        if not name.isalpha():
            return group, element, position + 8, struct.unpack_from("<I", buffer, position + 4)[0]
    except struct.error:
        raise Rejected(Reason.TRUNCATED_META.value) from None
    return group, element, position + 8, length
