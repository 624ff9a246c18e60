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
    """An accepted association as its services see it: its agreement, its transfer, and the intake of its instances."""

    agreed: AssociateAccepted
    transfer: Transfer
    acceptance: Acceptance


class DataSetSink(Protocol):
    """Takes the data set of one request as it arrives."""

    def write(self, piece: memoryview, /) -> None:
        """Append the next bytes; the view is valid only during the call."""


class Respond(Protocol):
    """Sends one response message; does nothing if the association has ended meanwhile."""

    def __call__(self, context_id: int, command_set: bytes, data_set: bytes = b"") -> None:
        """Send a command set, and a data set if the response has one."""


class Request(Protocol):
    """One request, from its command set to its answer.

    The data set is written to `body` as it arrives. `answer` is called at most once, when the request is complete and
    all requests before it are answered; it sends every response of the request and frees everything that the request
    holds. An exception aborts the association. `close` is called instead if the request will not be answered: only a
    part of it arrived, or the connection is closed.
    """

    @property
    def body(self) -> DataSetSink | None:
        """Return the sink for the data set; None if the request has no data set."""

    async def answer(self, respond: Respond) -> None:
        """Carry out the request, and respond."""

    def close(self) -> None:
        """Free everything that the request holds."""


@dataclass(frozen=True)
class Service:
    """One DIMSE service: a row of the table.

    `begin` is called with each command set of the service, if the service serves its context and a data set follows
    exactly when `has_data_set` is true. It may raise Violation.
    """

    name: str
    command_field: int
    has_data_set: bool
    # True for the abstract syntaxes that belong to the service.
    serves: Callable[[str], bool]
    # begin(association, command, context id)
    begin: Callable[[Association, Command, int], Request]
