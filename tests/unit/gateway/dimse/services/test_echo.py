"""An echo is answered with success."""

import asyncio

from gateway.dimse.services.echo import CEchoRequest
from operators.dimse.commands import C_ECHO, Command, parse_response

VERIFICATION = "1.2.840.10008.1.1"


def test_an_echo_succeeds_in_its_own_context() -> None:
    responses: list[tuple[int, bytes]] = []
    request = CEchoRequest(3, Command(C_ECHO, 9, VERIFICATION, "", has_data=False))

    asyncio.run(request.answer(lambda context_id, command_set, _=b"": responses.append((context_id, command_set))))

    ((context_id, command_set),) = responses
    answer = parse_response(command_set)
    assert (context_id, answer.field, answer.answered_id, answer.status) == (3, 0x8030, 9, 0x0000)
