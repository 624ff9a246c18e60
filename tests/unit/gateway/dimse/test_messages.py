"""Presentation data values become requests; what no sender may send is a violation."""

from pathlib import Path

import pytest

from gateway.dimse.messages import Limits, Messages, Request
from gateway.intake.accept import Incoming
from gateway.intake.spool import Body, Room, SpoolLimits
from gateway.intake.status import OUT_OF_RESOURCES, STATUSES, STORED
from operators.dicom.instance import data_hasher
from operators.dimse.commands import C_CANCEL as CANCELLED
from operators.dimse.negotiation import PresentationContext
from operators.dimse.pdu import Violation
from operators.errors import Rejected
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
def messages(tmp_path: Path, delivered: list[Request]) -> Messages:
    def arrive(sop_class: str, sop_uid: str, transfer_syntax: str) -> Incoming:
        body = Body(b"", data_hasher(transfer_syntax), Room(2**20), SpoolLimits(2**16, 2**20, tmp_path))
        return Incoming(sop_class, sop_uid, transfer_syntax, b"", body)

    return Messages(CONTEXTS, arrive, delivered.append)


def send(to: Messages, *values: tuple[int, int, bytes]) -> None:
    for context_id, control, data in values:
        to.data_arrived(context_id, control, memoryview(data), is_whole=True)


def test_every_status_is_one_of_the_standards() -> None:
    assert all(status.meaning for status in STATUSES)
    assert all(len(status.comment) <= 64 for status in STATUSES)


def test_fragments_make_one_request(messages: Messages, delivered: list[Request]) -> None:
    command = store_command()

    send(messages, (1, COMMAND, command[:50]), (1, COMMAND | LAST, command[50:]), (1, 0, b"ab"), (1, LAST, b"cd"))

    (request,) = delivered
    assert request.arrival is not None
    with request.arrival.body.opened() as data:
        assert bytes(data) == b"abcd"
    assert messages.is_between


def test_a_cancel_counts_as_a_request(messages: Messages, delivered: list[Request]) -> None:
    send(messages, (1, COMMAND | LAST, cancel_command()))

    assert [request.command.field for request in delivered] == [CANCELLED]


def test_another_class_than_the_contexts_is_refused_after_its_data(
    messages: Messages, delivered: list[Request]
) -> None:
    send(messages, (3, COMMAND | LAST, store_command()), (3, LAST, b"data"))

    (request,) = delivered
    assert request.arrival is not None
    assert isinstance(request.arrival.body.failed, Rejected)
    assert request.arrival.body.failed.reason == "other-class"


OVERSIZED = b"\0" * (Limits().command_bytes + 1)
TINY = [(1, 0, b"x")] * (Limits().fragments + 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([(7, COMMAND | LAST, store_command())], "unknown-context"),
        ([(5, COMMAND | LAST, store_command())], "wrong-context"),
        ([(1, COMMAND | LAST, echo_command())], "wrong-context"),
        ([(1, COMMAND, OVERSIZED)], "command-too-long"),
        ([(1, LAST, b"data")], "data-without-command"),
        ([(1, COMMAND | LAST, store_command()), (3, LAST, b"data")], "interleaved"),
        ([(1, COMMAND, store_command()[:20]), (3, COMMAND, b"x")], "interleaved"),
        ([(1, COMMAND | LAST, store_command()), (1, COMMAND | LAST, store_command())], "interleaved"),
        ([(1, COMMAND, b""), (3, COMMAND, b"")], "interleaved"),
        ([(1, COMMAND | LAST, store_command()), *TINY], "tiny-fragments"),
        ([(1, COMMAND, b"")] * (Limits().fragments + 1), "tiny-fragments"),
    ],
)
def test_what_no_sender_may_send_is_a_violation(
    messages: Messages, values: list[tuple[int, int, bytes]], reason: str
) -> None:
    with pytest.raises(Violation) as caught:
        send(messages, *values)

    assert caught.value.reason == reason


def test_fragments_may_be_small_while_they_are_few_and_are_counted_anew_for_each_message(
    messages: Messages, delivered: list[Request]
) -> None:
    few = TINY[: Limits().fragments - 2]

    for _ in range(3):
        send(messages, (1, COMMAND | LAST, store_command()), *few, (1, LAST, b""))

    assert [request.arrival.body.size_bytes for request in delivered if request.arrival] == [len(few)] * 3


def test_the_class_of_an_arrival_is_the_contexts_whatever_the_command_says(
    messages: Messages, delivered: list[Request]
) -> None:
    send(messages, (1, COMMAND | LAST, store_command(sop_class="1.9.8")), (1, LAST, b"data"))

    assert [request.arrival.sop_class for request in delivered if request.arrival] == [CT]


def test_a_find_is_an_unknown_command(messages: Messages) -> None:
    command = bytearray(store_command())
    field = command.index(b"\x00\x00\x00\x01\x02\x00\x00\x00") + 8
    command[field : field + 2] = b"\x20\x00"

    with pytest.raises(Violation, match="unknown-command"):
        send(messages, (1, COMMAND | LAST, bytes(command)))


def test_success_and_failure_are_told_apart_by_their_codes() -> None:
    assert (STORED.code, OUT_OF_RESOURCES.code) == (0x0000, 0xA700)
