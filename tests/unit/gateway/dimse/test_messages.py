"""Presentation data values become requests; a message that no sender may send is a violation."""

from functools import partial
from pathlib import Path

import pytest

from gateway.dimse.messages import MessageAssembler, MessageLimits
from gateway.dimse.services.service import Association, Request
from gateway.dimse.services.store import CStoreRequest
from gateway.dimse.services.table import begin
from operators.dimse.negotiation import AssociateAccepted, PresentationContext
from operators.dimse.pdu import Violation
from tests.support.worlds.intake import GatewayProcess, IntakeWorld
from tests.unit.operators.dimse.test_commands import cancel_command, echo_command, store_command

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = {
    1: PresentationContext(CT, EXPLICIT),
    3: PresentationContext(MR, EXPLICIT),
    5: PresentationContext(VERIFICATION, EXPLICIT),
}
COMMAND, LAST = 1, 2


@pytest.fixture
def delivered() -> list[Request]:
    return []


@pytest.fixture
def process(tmp_path: Path) -> GatewayProcess:
    return IntakeWorld(tmp_path).gateway()


@pytest.fixture
def messages(process: GatewayProcess, delivered: list[Request]) -> MessageAssembler:
    agreed = AssociateAccepted("SENDER", "FLUORO", CONTEXTS, 16384, b"")
    association = Association(agreed, process.transfer, process.acceptance)
    return MessageAssembler(CONTEXTS, partial(begin, association), delivered.append)


def stores(delivered: list[Request]) -> list[CStoreRequest]:
    return [request for request in delivered if isinstance(request, CStoreRequest)]


def send(to: MessageAssembler, *values: tuple[int, int, bytes]) -> None:
    for context_id, control, data in values:
        to.data_arrived(context_id, control, memoryview(data), is_whole=True)


def test_fragments_make_one_request(messages: MessageAssembler, delivered: list[Request]) -> None:
    command = store_command()

    send(messages, (1, COMMAND, command[:50]), (1, COMMAND | LAST, command[50:]), (1, 0, b"ab"), (1, LAST, b"cd"))

    (request,) = stores(delivered)
    with request.body.opened() as data:
        assert bytes(data) == b"abcd"
    assert messages.is_between_messages


OVERSIZED = b"\0" * (MessageLimits().command_bytes + 1)
TINY = [(1, 0, b"x")] * (MessageLimits().fragments + 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([(7, COMMAND | LAST, store_command())], "unknown-context"),
        ([(5, COMMAND | LAST, echo_command()), (5, LAST, b"data")], "data-without-command"),
        ([(1, COMMAND, OVERSIZED)], "command-too-long"),
        ([(1, LAST, b"data")], "data-without-command"),
        ([(1, COMMAND | LAST, store_command()), (3, LAST, b"data")], "interleaved"),
        ([(1, COMMAND, store_command()[:20]), (3, COMMAND, b"x")], "interleaved"),
        ([(1, COMMAND | LAST, store_command()), (1, COMMAND | LAST, store_command())], "interleaved"),
        ([(1, COMMAND, b""), (3, COMMAND, b"")], "interleaved"),
        ([(1, COMMAND | LAST, store_command()), *TINY], "tiny-fragments"),
        ([(1, COMMAND, b"")] * (MessageLimits().fragments + 1), "tiny-fragments"),
    ],
)
def test_a_message_that_no_sender_may_send_is_a_violation(
    messages: MessageAssembler, values: list[tuple[int, int, bytes]], reason: str
) -> None:
    with pytest.raises(Violation) as caught:
        send(messages, *values)

    assert caught.value.reason == reason


def test_each_message_may_have_a_few_small_fragments(messages: MessageAssembler, delivered: list[Request]) -> None:
    few = TINY[: MessageLimits().fragments - 2]

    for _ in range(3):
        send(messages, (1, COMMAND | LAST, store_command()), *few, (1, LAST, b""))

    assert [request.body.size_bytes for request in stores(delivered)] == [len(few)] * 3


def test_closing_an_incomplete_message_frees_its_memory(messages: MessageAssembler, process: GatewayProcess) -> None:
    send(messages, (1, COMMAND | LAST, store_command()), (1, 0, b"half"))
    held_bytes = process.acceptance.room.held_bytes

    messages.close()

    assert held_bytes > 0
    assert process.acceptance.room.held_bytes == 0


def test_a_request_without_data_set_is_delivered_with_its_command(
    messages: MessageAssembler, delivered: list[Request]
) -> None:
    send(messages, (5, COMMAND | LAST, echo_command()), (1, COMMAND | LAST, cancel_command()))

    assert [request.body for request in delivered] == [None, None]
