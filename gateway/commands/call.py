"""The REST call that gives a command: POST /v1/studies/{uid}/commands."""

import re
from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

from gateway.calls.call import Call, CallAnswer, CallMade
from gateway.commands.answer import answer
from gateway.commands.giving import Commands
from gateway.commands.request import CommandRequest
from operators.errors import RETRY_AFTER, Unavailable
from operators.http.problem import Problem

PATH = re.compile(r"/v1/studies/(?P<study>[^/]+)/commands")
# The longest reason as escapes of JSON has 12 KiB.
BODY_BYTES = 16 * 1024
FIELDS: Mapping[str, type] = {"id": str, "action": str, "why": str, "count": int, "instance": str, "content": str}
SEND_AGAIN = "a server does not answer, and perhaps the command is stored already: send it again with the id {}"


def command_call(commands: Commands) -> Call:
    """Return the call that gives a command."""

    async def carry_out(made: CallMade) -> CallAnswer:
        # It has an id before anything is stored, so that its answer can name it.
        request = request_of(made)
        request = replace(request, command_id=request.command_id or str(uuid4()))
        try:
            given = await commands.give(request)
        except Unavailable as error:
            advice = SEND_AGAIN.format(request.command_id)
            raise Problem(503, f"{error.what}-unavailable", advice, RETRY_AFTER) from error
        return CallAnswer(200 if given.is_repeat else 201, answer(given))

    return Call("a command", "POST", PATH, BODY_BYTES, FIELDS, carry_out)


def request_of(made: CallMade) -> CommandRequest:
    """Return the request that a call makes."""
    said = made.said
    return CommandRequest(
        tenant=made.principal.tenant,
        study_uid=made.place["study"],
        action=said.get("action", ""),
        who=made.principal.name,
        why=said.get("why", ""),
        command_id=said.get("id", ""),
        count=said.get("count"),
        instance=said.get("instance"),
        content=said.get("content"),
    )
