"""An operation that the service of its context does not have, such as C-FIND on a storage context: it is refused.

The association goes on, for an abort would cost the instances that are on their way. PS3.7 C.5.23 has a status for
this; a requestor that gets it ends its query, and repeats nothing.
"""

from dataclasses import dataclass

import structlog

from gateway.dimse.services.service import DataSetSink, Respond
from operators.dimse.commands import UNRECOGNIZED_OPERATION, Command, response

COMMENT = "this context's service has no such operation"

log = structlog.get_logger()


class Discarded:
    """A data set that nobody reads."""

    def write(self, _: memoryview) -> None:
        """Drop the next bytes."""


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that is answered with 0211, after its data set, if it has one."""

    context_id: int
    command: Command
    body: DataSetSink | None

    async def answer(self, respond: Respond) -> None:
        """Respond that the operation is not recognized."""
        log.warning("operation_refused", command=f"{self.command.field:04X}")
        respond(self.context_id, response(self.command, UNRECOGNIZED_OPERATION, COMMENT))

    def close(self) -> None:
        """Do nothing, for nothing is held."""


def refused(command: Command, context_id: int) -> RefusedRequest:
    """Return the request of an operation that is refused."""
    return RefusedRequest(context_id, command, Discarded() if command.has_data else None)
