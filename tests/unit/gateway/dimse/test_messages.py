"""Command sets against pynetdicom's own, and what the assembler of messages lets through."""

import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode

from gateway.dimse.messages import C_CANCEL as CANCELLED
from gateway.dimse.messages import Command, Limits, Messages, Request, parse_command, response
from gateway.intake.accept import Incoming
from gateway.intake.spool import Body, Room, SpoolLimits
from gateway.intake.status import OUT_OF_RESOURCES, STATUSES, STORED, Status
from operators.dicom.instance import data_hasher
from operators.dimse.upper_layer import Context, Violation
from operators.errors import Rejected

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = {1: Context(CT, EXPLICIT), 3: Context(MR, EXPLICIT), 5: Context(VERIFICATION, EXPLICIT)}
COMMAND, LAST = 1, 2


def store_command(sop_class: str = CT, sop_uid: str = "1.2.3.4", message_id: int = 7) -> bytes:
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = sop_class
    primitive.AffectedSOPInstanceUID = sop_uid
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"data")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    return bytes(encode(message.command_set, is_implicit_vr=True, is_little_endian=True) or b"")


def echo_command() -> bytes:
    primitive = C_ECHO()
    primitive.MessageID = 9
    primitive.AffectedSOPClassUID = VERIFICATION
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)
    return bytes(encode(message.command_set, is_implicit_vr=True, is_little_endian=True) or b"")


def cancel_command() -> bytes:
    primitive = C_CANCEL()
    primitive.MessageIDBeingRespondedTo = 7
    message = C_CANCEL_RQ()
    message.primitive_to_message(primitive)
    return bytes(encode(message.command_set, is_implicit_vr=True, is_little_endian=True) or b"")


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


def test_a_store_request_is_read_as_pynetdicom_wrote_it() -> None:
    assert parse_command(store_command()) == Command(1, 7, CT, "1.2.3.4", has_data=True)


def test_an_echo_request_is_read_as_pynetdicom_wrote_it() -> None:
    assert parse_command(echo_command()) == Command(0x30, 9, VERIFICATION, "", has_data=False)


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: status.outcome)
def test_a_response_is_one_that_pynetdicom_reads(status: Status) -> None:
    request = parse_command(store_command(sop_uid="1.2.3", message_id=65535))

    answer = decode(BytesIO(response(request, status)), is_implicit_vr=True, is_little_endian=True)
    message = C_STORE_RSP()
    message.command_set = answer

    assert answer.CommandGroupLength == len(response(request, status)) - 12
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo) == (0x8001, 65535)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert answer.Status == status.code
    assert answer.get("ErrorComment", "") == status.comment


def test_every_status_is_one_of_the_standards() -> None:
    assert all(status.meaning for status in STATUSES)
    assert all(len(status.comment) <= 64 for status in STATUSES)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading_of_a_command_but_by_violation(noise: bytes) -> None:
    with suppress(Violation):
        parse_command(noise)


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


def command_set(*elements: tuple[int, int, bytes]) -> bytes:
    return b"".join(struct.pack("<HHI", group, number, len(value)) + value for group, number, value in elements)


FIELD, DATA_SET = (0, 0x0100, b"\1\0"), (0, 0x0800, b"\0\0")
MALFORMED = {
    "an element twice": command_set(FIELD, FIELD, DATA_SET),
    "another group": command_set(FIELD, DATA_SET, (8, 0x0018, b"1.2.3\0")),
    "no field": command_set(DATA_SET),
    "no data set type": command_set(FIELD),
    "a field of four bytes": command_set((0, 0x0100, bytes(4)), DATA_SET),
    "a value beyond the end": command_set(FIELD, DATA_SET)[:-1],
    "half a header": command_set(FIELD, DATA_SET) + b"\0\0\0",
}


@pytest.mark.parametrize("claim", MALFORMED)
def test_a_command_set_that_is_none_is_a_violation(claim: str) -> None:
    with pytest.raises(Violation, match="malformed-command"):
        parse_command(MALFORMED[claim])


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
