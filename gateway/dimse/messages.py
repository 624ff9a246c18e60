"""The assembly of presentation data values into DIMSE requests (PS3.7 6.3, PS3.8 E)."""

from collections.abc import Callable, Container
from dataclasses import dataclass

from gateway.dimse.services.service import Request
from operators.dimse.commands import Command, parse_command
from operators.dimse.pdu import IS_COMMAND, IS_LAST, Violation


@dataclass(frozen=True)
class MessageLimits:
    """The most bytes of a message's command set, and how small its fragments may be.

    After the first `fragments` fragments, each further one must add `fragment_bytes` bytes on average. A command set of
    C-STORE takes 200 to 400 bytes. A fragment of any size costs 3 us: an instance of 1 GiB in fragments of one byte
    would cost an hour.
    """

    command_bytes: int = 16 * 1024
    fragments: int = 1_000
    fragment_bytes: int = 1_024


class MessageAssembler:
    """Assembles the messages of one association; raises Violation for a message that no peer may send.

    `begin` is called with each command set and the number of its context, and returns the request; the data set is
    written to the request's body. `deliver` is called with each complete request.
    """

    def __init__(
        self,
        context_ids: Container[int],
        begin: Callable[[Command, int], Request],
        deliver: Callable[[Request], None],
        limits: MessageLimits = MessageLimits(),
    ) -> None:
        self._context_ids = context_ids
        self._begin = begin
        self._deliver = deliver
        self._limits = limits
        self._command_bytes = bytearray()
        self._has_begun = False
        self._context_id = self._fragments = self._fragments_bytes = 0
        # The request whose data set is arriving.
        self._open: Request | None = None

    @property
    def is_between_messages(self) -> bool:
        """True if no message has begun."""
        return not self._has_begun

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Add the next piece of a presentation data value; `is_whole` if the value ends with it."""
        if context_id not in self._context_ids:
            raise Violation("unknown-context")
        if not self._has_begun:
            self._has_begun, self._context_id = True, context_id
            self._fragments = self._fragments_bytes = 0
        elif context_id != self._context_id:
            raise Violation("interleaved")
        self._fragments += is_whole
        self._fragments_bytes += len(piece)
        if self._fragments_bytes < (self._fragments - self._limits.fragments) * self._limits.fragment_bytes:
            raise Violation("tiny-fragments")
        is_last = is_whole and bool(control & IS_LAST)
        if control & IS_COMMAND:
            self._add_command(piece, is_last=is_last)
        else:
            self._add_data(piece, is_last=is_last)

    def close(self) -> None:
        """Discard a message that will never be complete."""
        if self._open is not None:
            self._open.close()
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
            self._begin_request(command)

    def _begin_request(self, command: Command) -> None:
        request = self._begin(command, self._context_id)
        if request.body is not None:
            self._open = request
        else:
            self._deliver(request)
        self._has_begun = self._open is not None

    def _add_data(self, piece: memoryview, *, is_last: bool) -> None:
        if self._open is None or self._open.body is None:
            raise Violation("data-without-command")
        self._open.body.write(piece)
        if is_last:
            request, self._open, self._has_begun = self._open, None, False
            self._deliver(request)
