"""Command sets of DIMSE messages (PS3.7 6.3, 9.3), read and written in both roles. No I/O.

Everything is packed with struct: building a response as a pydicom data set was a third of the cost of a slice.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from operators.dimse.pdu import Violation
from operators.dimse.sop_classes import VERIFICATION

ELEMENT = struct.Struct("<HHI")
SHORT = struct.Struct("<H")
LONG = struct.Struct("<I")

# PS3.7 E.1: element numbers of group 0000.
GROUP_LENGTH, SOP_CLASS, FIELD, MESSAGE_ID, ANSWERED_ID = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, ERROR_COMMENT, SOP_UID = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000
# Values of the command field and of the data set type.
C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
IS_RESPONSE = 0x8000
# Every request but C-CANCEL: C-STORE, C-GET, C-FIND, C-MOVE, C-ECHO, then N-EVENT-REPORT to N-DELETE.
REQUESTS = frozenset({C_STORE, 0x0010, 0x0020, 0x0021, C_ECHO, *range(0x0100, 0x0151, 0x0010)})
NO_DATA_SET, HAS_DATA_SET = 0x0101, 0x0001
MEDIUM_PRIORITY = 0x0000
# PS3.7 C.1.1, C.5.23.
SUCCESS, UNRECOGNIZED_OPERATION = 0x0000, 0x0211
COMMENT_LENGTH = 64


@dataclass(frozen=True)
class Command:
    """A request's command set. The UIDs are the sender's claim, without padding; empty when absent."""

    field: int
    message_id: int
    sop_class: str
    sop_uid: str
    has_data: bool


@dataclass(frozen=True)
class CommandResponse:
    """The command set of a response. The UID and the comment are without padding; empty when absent."""

    field: int
    answered_id: int
    status: int
    sop_uid: str
    comment: str


def parse_command(data: bytes | bytearray) -> Command:
    """Read a request's command set (implicit VR little endian, PS3.7 6.3.1); raises Violation."""
    elements = _elements(data)
    try:
        return Command(
            field=SHORT.unpack(elements[FIELD])[0],
            message_id=SHORT.unpack(elements.get(MESSAGE_ID, b"\0\0"))[0],
            sop_class=_text(elements.get(SOP_CLASS, b"")),
            sop_uid=_text(elements.get(SOP_UID, b"")),
            has_data=SHORT.unpack(elements[DATA_SET_TYPE])[0] != NO_DATA_SET,
        )
    except (KeyError, struct.error) as error:
        raise Violation("malformed-command") from error


def parse_response(data: bytes | bytearray) -> CommandResponse:
    """Read the command set of a response; raises Violation, also for a request."""
    elements = _elements(data)
    try:
        found = CommandResponse(
            field=SHORT.unpack(elements[FIELD])[0],
            answered_id=SHORT.unpack(elements[ANSWERED_ID])[0],
            status=SHORT.unpack(elements[STATUS])[0],
            sop_uid=_text(elements.get(SOP_UID, b"")),
            comment=_text(elements.get(ERROR_COMMENT, b"")),
        )
    except (KeyError, struct.error) as error:
        raise Violation("malformed-command") from error
    if not found.field & IS_RESPONSE:
        raise Violation("unknown-command")
    return found


def _elements(data: bytes | bytearray) -> dict[int, bytes]:
    """Cut a command set into values by element number; the group is always 0000."""
    elements: dict[int, bytes] = {}
    start = 0
    while start < len(data):
        if len(data) - start < ELEMENT.size:
            raise Violation("malformed-command")
        group, number, length = ELEMENT.unpack_from(data, start)
        start += ELEMENT.size
        if group != 0 or number in elements or length > len(data) - start:
            raise Violation("malformed-command")
        elements[number] = bytes(data[start : start + length])
        start += length
    return elements


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def response(command: Command, status: int, comment: str = "") -> bytes:
    """Return the command set that answers a request without a data set (PS3.7 9.3.1.2, 9.3.5.2)."""
    elements = [
        (SOP_CLASS, _padded(command.sop_class, b"\0")),
        (FIELD, SHORT.pack(command.field | IS_RESPONSE)),
        (ANSWERED_ID, SHORT.pack(command.message_id)),
        (DATA_SET_TYPE, SHORT.pack(NO_DATA_SET)),
        (STATUS, SHORT.pack(status)),
    ]
    if comment:
        elements.append((ERROR_COMMENT, _padded(comment[:COMMENT_LENGTH], b" ")))
    if command.sop_uid:
        elements.append((SOP_UID, _padded(command.sop_uid, b"\0")))
    return _command_set(elements)


def echo_request(message_id: int) -> bytes:
    """Return the command set of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return _command_set(
        (
            (SOP_CLASS, _padded(VERIFICATION, b"\0")),
            (FIELD, SHORT.pack(C_ECHO)),
            (MESSAGE_ID, SHORT.pack(message_id)),
            (DATA_SET_TYPE, SHORT.pack(NO_DATA_SET)),
        )
    )


def store_request(message_id: int, sop_class: str, sop_uid: str) -> bytes:
    """Return the command set of a C-STORE-RQ of medium priority (PS3.7 9.3.1.1)."""
    return _command_set(
        (
            (SOP_CLASS, _padded(sop_class, b"\0")),
            (FIELD, SHORT.pack(C_STORE)),
            (MESSAGE_ID, SHORT.pack(message_id)),
            (PRIORITY, SHORT.pack(MEDIUM_PRIORITY)),
            (DATA_SET_TYPE, SHORT.pack(HAS_DATA_SET)),
            (SOP_UID, _padded(sop_uid, b"\0")),
        )
    )


def _command_set(elements: Iterable[tuple[int, bytes]]) -> bytes:
    body = b"".join(ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return ELEMENT.pack(0, GROUP_LENGTH, LONG.size) + LONG.pack(len(body)) + body


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value
