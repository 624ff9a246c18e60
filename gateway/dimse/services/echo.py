"""The verification service: C-ECHO (PS3.7 9.1.5)."""

from dataclasses import dataclass

from gateway.dimse.services.service import Association, Respond, Service
from operators.dimse.commands import C_ECHO, SUCCESS, Command, response
from operators.dimse.sop_classes import is_verification


@dataclass(frozen=True, slots=True)
class CEchoRequest:
    """A C-ECHO, which always succeeds, even while the object store and the broker are down."""

    context_id: int
    command: Command
    body: None = None

    async def answer(self, respond: Respond) -> None:
        """Respond with success."""
        respond(self.context_id, response(self.command, SUCCESS))

    def close(self) -> None:
        """Do nothing, for an echo holds nothing."""


def begin(_: Association, command: Command, context_id: int) -> CEchoRequest:
    """Return the request of a C-ECHO."""
    return CEchoRequest(context_id, command)


ECHO = Service("echo", C_ECHO, has_data_set=False, serves=is_verification, begin=begin)
