"""The table of DIMSE services. A new service is a new module in this folder and a row here.

The names that a peer may be allowed, the contexts that a negotiation accepts and the commands that are answered all
follow from this table.
"""

from collections.abc import Container
from dataclasses import dataclass

from gateway.dimse.services.echo import ECHO
from gateway.dimse.services.refused import refused
from gateway.dimse.services.service import Association, Request, Respond, Service
from gateway.dimse.services.store import STORE
from operators.dimse.commands import C_CANCEL, REQUESTS, Command
from operators.dimse.pdu import Violation

SERVICES: tuple[Service, ...] = (ECHO, STORE)
SERVICE_NAMES = frozenset(service.name for service in SERVICES)
BY_COMMAND = {service.command_field: service for service in SERVICES}


def is_served(abstract_syntax: str, names: Container[str] = SERVICE_NAMES) -> bool:
    """True if a service of these names serves the abstract syntax."""
    return any(service.name in names and service.serves(abstract_syntax) for service in SERVICES)


def begin(association: Association, command: Command, context_id: int) -> Request:
    """Return the request that a command set begins; raises Violation for what is no request, or lacks its data set.

    An operation of DIMSE that the context's service does not have is a request too, which is refused.
    """
    if command.field == C_CANCEL:
        return CCancelRequest()
    if command.field not in REQUESTS:
        raise Violation("unknown-command")
    service = BY_COMMAND.get(command.field)
    if service is None or not service.serves(association.agreed.contexts[context_id].abstract_syntax):
        return refused(command, context_id)
    if command.has_data != service.has_data_set:
        raise Violation("data-set-missing" if service.has_data_set else "data-set-unexpected")
    return service.begin(association, command, context_id)


@dataclass(frozen=True, slots=True)
class CCancelRequest:
    """A C-CANCEL: it has no response, and no request here takes long enough to be cancelled (PS3.7 9.3.2.3)."""

    body: None = None

    async def answer(self, respond: Respond) -> None:
        """Send no response."""

    def close(self) -> None:
        """Do nothing, for a cancel holds nothing."""
