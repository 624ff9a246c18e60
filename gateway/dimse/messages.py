"""DIMSE messages as a storage and verification SCP: command sets in and out by struct, data sets into bodies.

A response built as a pydicom data set was a third of the cost of a slice.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from gateway.intake.accept import Incoming
from gateway.intake.status import OTHER_CLASS, Status
from operators.dimse.upper_layer import IS_COMMAND, IS_LAST, Context, Violation, is_storage, is_verification
from operators.errors import Rejected

ELEMENT = struct.Struct("<HHI")
SHORT = struct.Struct("<H")
LONG = struct.Struct("<I")

# PS3.7 E.1.
GROUP_LENGTH, SOP_CLASS, FIELD, MESSAGE_ID, ANSWERED_ID = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, ERROR_COMMENT, SOP_UID = 0x0800, 0x0900, 0x0902, 0x1000
NO_DATA_SET = 0x0101
C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
IS_RESPONSE = 0x8000
COMMENT_LENGTH = 64


@dataclass(frozen=True)
class Limits:
    """What one message may take: its command set, and how small its fragments may be once there are many.

    A command set of C-STORE takes 200 to 400 bytes. A fragment costs 3 us whatever is in it: an instance of 1 GiB in
    fragments of one byte would cost an hour.
    """

    command_bytes: int = 16 * 1024
    fragments: int = 1_000
    fragment_bytes: int = 1_024


@dataclass(frozen=True)
class Command:
    """A request's command set. The UIDs are the sender's claim, without padding; empty when absent."""

    field: int
    message_id: int
    sop_class: str
    sop_uid: str
    has_data: bool


@dataclass(frozen=True)
class Request:
    """A complete request: where it came, what it asks, what it carried."""

    context_id: int
    command: Command
    arrival: Incoming | None = None


def parse_command(data: bytes | bytearray) -> Command:
    """Read a command set (implicit VR little endian, PS3.7 6.3.1); raises Violation."""
    elements = _elements(data)
    try:
        return Command(
            field=SHORT.unpack(elements[FIELD])[0],
            message_id=SHORT.unpack(elements.get(MESSAGE_ID, b"\0\0"))[0],
            sop_class=_uid(elements.get(SOP_CLASS, b"")),
            sop_uid=_uid(elements.get(SOP_UID, b"")),
            has_data=SHORT.unpack(elements[DATA_SET_TYPE])[0] != NO_DATA_SET,
        )
    except (KeyError, struct.error) as error:
        raise Violation("malformed-command") from error


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


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def response(command: Command, status: Status) -> bytes:
    """Return the command set that answers a C-STORE or C-ECHO (PS3.7 9.3.1.2, 9.3.5.2)."""
    elements = [
        (SOP_CLASS, _padded(command.sop_class, b"\0")),
        (FIELD, SHORT.pack(command.field | IS_RESPONSE)),
        (ANSWERED_ID, SHORT.pack(command.message_id)),
        (DATA_SET_TYPE, SHORT.pack(NO_DATA_SET)),
        (STATUS, SHORT.pack(status.code)),
    ]
    if status.comment:
        elements.append((ERROR_COMMENT, _padded(status.comment[:COMMENT_LENGTH], b" ")))
    if command.sop_uid:
        elements.append((SOP_UID, _padded(command.sop_uid, b"\0")))
    body = b"".join(ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return ELEMENT.pack(0, GROUP_LENGTH, LONG.size) + LONG.pack(len(body)) + body


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad if len(value) % 2 else value


# arrive(SOP class, SOP UID, transfer syntax) -> where the data set goes.
Arrive = Callable[[str, str, str], Incoming]


class Messages:
    """Puts presentation data values together into requests; raises Violation for what no peer may send."""

    def __init__(
        self,
        contexts: dict[int, Context],
        arrive: Arrive,
        deliver: Callable[[Request], None],
        limits: Limits = Limits(),
    ) -> None:
        self._contexts = contexts
        self._arrive = arrive
        self._deliver = deliver
        self._limits = limits
        self._command_bytes = bytearray()
        self._has_begun = False
        self._context_id = self._fragments = self._fragments_bytes = 0
        self._open: Request | None = None

    @property
    def is_between(self) -> bool:
        """True if no message has begun."""
        return not self._has_begun

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Take the next piece of a value; is_whole when the value ends with it."""
        if context_id not in self._contexts:
            raise Violation("unknown-context")
        if not self._has_begun:
            self._has_begun, self._context_id = True, context_id
            self._fragments = self._fragments_bytes = 0
        elif context_id != self._context_id:
            raise Violation("interleaved")
        self._count(len(piece), is_whole=is_whole)
        is_last = is_whole and bool(control & IS_LAST)
        if control & IS_COMMAND:
            self._add_command(piece, is_last=is_last)
        else:
            self._add_data(piece, is_last=is_last)

    def _count(self, size_bytes: int, *, is_whole: bool) -> None:
        self._fragments += is_whole
        self._fragments_bytes += size_bytes
        least_bytes = (self._fragments - self._limits.fragments) * self._limits.fragment_bytes
        if self._fragments_bytes < least_bytes:
            raise Violation("tiny-fragments")

    def drop(self) -> None:
        """Let go of a message that will never be complete."""
        if self._open is not None and self._open.arrival is not None:
            self._open.arrival.body.close()
        self._open = None

    def _add_command(self, piece: memoryview, *, is_last: bool) -> None:
        if self._open is not None:
            raise Violation("interleaved")
        self._command_bytes += piece
        if len(self._command_bytes) > self._limits.command_bytes:
            raise Violation("command-too-long")
        if is_last:
            command = parse_command(self._command_bytes)
            self._command_bytes.clear()
            self._begin(command)

    def _begin(self, command: Command) -> None:
        begin = BEGINNINGS.get(command.field)
        if begin is None:
            raise Violation("unknown-command")
        begin(self, command, self._contexts[self._context_id])
        self._has_begun = self._open is not None

    def _begin_store(self, command: Command, context: Context) -> None:
        if not command.has_data or not is_storage(context.abstract_syntax):
            raise Violation("wrong-context")
        # Under the context's class: the one in the command may be any text, and this one gets into logs.
        arrival = self._arrive(context.abstract_syntax, command.sop_uid, context.transfer_syntax)
        if command.sop_class != context.abstract_syntax:
            arrival.body.fail(Rejected(OTHER_CLASS.outcome))
        self._open = Request(self._context_id, command, arrival)

    def _begin_echo(self, command: Command, context: Context) -> None:
        if command.has_data or not is_verification(context.abstract_syntax):
            raise Violation("wrong-context")
        self._deliver(Request(self._context_id, command))

    def _begin_cancel(self, command: Command, _: Context) -> None:
        self._deliver(Request(self._context_id, command))

    def _add_data(self, piece: memoryview, *, is_last: bool) -> None:
        if self._open is None or self._open.arrival is None:
            raise Violation("data-without-command")
        self._open.arrival.body.write(piece)
        if is_last:
            request, self._open, self._has_begun = self._open, None, False
            self._deliver(request)


BEGINNINGS: dict[int, Callable[[Messages, Command, Context], None]] = {
    C_STORE: Messages._begin_store,  # noqa: SLF001 - the table of the class above
    C_ECHO: Messages._begin_echo,  # noqa: SLF001
    C_CANCEL: Messages._begin_cancel,  # noqa: SLF001
}
