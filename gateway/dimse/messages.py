"""DIMSE messages as a storage and verification SCP: command sets into requests, data sets into bodies."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.intake.accept import Incoming
from gateway.intake.status import OTHER_CLASS
from operators.dimse.commands import C_CANCEL, C_ECHO, C_STORE, Command, parse_command
from operators.dimse.negotiation import PresentationContext
from operators.dimse.pdu import IS_COMMAND, IS_LAST, Violation
from operators.dimse.sop_classes import is_storage, is_verification
from operators.errors import Rejected

# What a peer may be allowed to ask for.
SERVICES = frozenset({"echo", "store"})


def service_of(abstract_syntax: str) -> str | None:
    """Return the service of SERVICES that an abstract syntax belongs to."""
    if is_verification(abstract_syntax):
        return "echo"
    return "store" if is_storage(abstract_syntax) else None


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
class Request:
    """A complete request: where it came, what it asks, what it carried."""

    context_id: int
    command: Command
    arrival: Incoming | None = None


# arrive(SOP class, SOP UID, transfer syntax) -> where the data set goes.
Arrive = Callable[[str, str, str], Incoming]


class Messages:
    """Puts presentation data values together into requests; raises Violation for what no peer may send."""

    def __init__(
        self,
        contexts: dict[int, PresentationContext],
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

    def _begin_store(self, command: Command, context: PresentationContext) -> None:
        if not command.has_data or not is_storage(context.abstract_syntax):
            raise Violation("wrong-context")
        # Under the context's class: the one in the command may be any text, and this one gets into logs.
        arrival = self._arrive(context.abstract_syntax, command.sop_uid, context.transfer_syntax)
        if command.sop_class != context.abstract_syntax:
            arrival.body.fail(Rejected(OTHER_CLASS.outcome))
        self._open = Request(self._context_id, command, arrival)

    def _begin_echo(self, command: Command, context: PresentationContext) -> None:
        if command.has_data or not is_verification(context.abstract_syntax):
            raise Violation("wrong-context")
        self._deliver(Request(self._context_id, command))

    def _begin_cancel(self, command: Command, _: PresentationContext) -> None:
        self._deliver(Request(self._context_id, command))

    def _add_data(self, piece: memoryview, *, is_last: bool) -> None:
        if self._open is None or self._open.arrival is None:
            raise Violation("data-without-command")
        self._open.arrival.body.write(piece)
        if is_last:
            request, self._open, self._has_begun = self._open, None, False
            self._deliver(request)


BEGINNINGS: dict[int, Callable[[Messages, Command, PresentationContext], None]] = {
    C_STORE: Messages._begin_store,  # noqa: SLF001 - the table of the class above
    C_ECHO: Messages._begin_echo,  # noqa: SLF001
    C_CANCEL: Messages._begin_cancel,  # noqa: SLF001
}
