"""The contract of a DIMSE service: when it applies, how a request of it begins, and how it is answered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.intake.accept import Acceptance
from gateway.intake.transfer import Transfer
from operators.dimse.commands import Command
from operators.dimse.negotiation import AssociateAccepted


@dataclass(frozen=True)
class Association:
    """An accepted association as its services see it: the agreement, and the way in for its instances."""

    agreed: AssociateAccepted
    transfer: Transfer
    acceptance: Acceptance


class DataSetSink(Protocol):
    """Takes the data set of one request as it arrives."""

    def write(self, piece: memoryview, /) -> None:
        """Take the next bytes; the view is valid only during the call."""


class Respond(Protocol):
    """Sends one response message, unless the association has ended meanwhile."""

    def __call__(self, context_id: int, command_set: bytes, data_set: bytes = b"") -> None:
        """Send a command set, and a data set where the response has one."""


class Request(Protocol):
    """One request, from its command set to its answer.

    The data set is written to `body` as it arrives. `answer` is called at most once, when the request is complete and
    all requests before it are answered; it sends every response of the request and releases what the request holds.
    An exception aborts the association. `close` is called instead if the request will not be answered: it came only
    in part, or the connection is closed.
    """

    @property
    def body(self) -> DataSetSink | None:
        """Return where the data set goes; None if the request has no data set."""

    async def answer(self, respond: Respond) -> None:
        """Do what was requested, and respond."""

    def close(self) -> None:
        """Release what the request holds."""


@dataclass(frozen=True)
class Service:
    """One DIMSE service: a row of the table.

    `begin` is called with each command set of the service, when its context is one that the service serves and a data
    set follows exactly if `has_data_set`. It may raise Violation.
    """

    name: str
    command_field: int
    has_data_set: bool
    # True for the abstract syntaxes that belong to the service.
    serves: Callable[[str], bool]
    # begin(association, command, context id)
    begin: Callable[[Association, Command, int], Request]
