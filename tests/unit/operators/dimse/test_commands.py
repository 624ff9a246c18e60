"""Command sets that pynetdicom writes are read, and those written are read by pynetdicom, in both roles."""

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode

from operators.dimse.commands import (
    Command,
    CommandResponse,
    echo_request,
    parse_command,
    parse_response,
    response,
    store_request,
)
from operators.dimse.pdu import Violation

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"


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


def test_a_store_request_is_read_as_pynetdicom_wrote_it() -> None:
    assert parse_command(store_command()) == Command(1, 7, CT, "1.2.3.4", has_data=True)


def test_an_echo_request_is_read_as_pynetdicom_wrote_it() -> None:
    assert parse_command(echo_command()) == Command(0x30, 9, VERIFICATION, "", has_data=False)


def decoded(command_set: bytes) -> Dataset:
    return decode(BytesIO(command_set), is_implicit_vr=True, is_little_endian=True)


RESPONSES = [(0x0000, ""), (0xB007, ""), (0xA700, "not stored, try again later"), (0xC001, "odd")]


@pytest.mark.parametrize(("status", "comment"), RESPONSES)
def test_pynetdicom_reads_our_response(status: int, comment: str) -> None:
    request = parse_command(store_command(sop_uid="1.2.3", message_id=65535))

    packed = response(request, status, comment)
    answer = decoded(packed)
    message = C_STORE_RSP()
    message.command_set = answer

    assert answer.CommandGroupLength == len(packed) - 12
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo) == (0x8001, 65535)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert answer.Status == status
    assert answer.get("ErrorComment", "") == comment


def test_our_requests_equal_those_of_pynetdicom() -> None:
    ours = [decoded(store_request(7, CT, "1.2.3.4")), decoded(echo_request(9))]
    theirs = [decoded(store_command()), decoded(echo_command())]

    for command in [*ours, *theirs]:
        # Any value but 0101 says that a data set follows (PS3.7 E.1).
        command.CommandDataSetType = int(command.CommandDataSetType != 0x0101)
    assert ours == theirs


@pytest.mark.parametrize(("status", "comment"), RESPONSES)
def test_a_response_by_pynetdicom_is_read(status: int, comment: str) -> None:
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo = 7
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.4"
    primitive.Status = status
    if comment:
        primitive.ErrorComment = comment
    message = C_STORE_RSP()
    message.primitive_to_message(primitive)
    packed = encode(message.command_set, is_implicit_vr=True, is_little_endian=True) or b""

    assert parse_response(packed) == CommandResponse(0x8001, 7, status, "1.2.3.4", comment)


@pytest.mark.parametrize("status", [status for status, _ in RESPONSES])
def test_our_response_is_read_back(status: int) -> None:
    command = parse_command(store_command())

    assert parse_response(response(command, status, "why")) == CommandResponse(0x8001, 7, status, "1.2.3.4", "why")


def test_a_request_is_no_response() -> None:
    with pytest.raises(Violation, match="malformed-command"):
        parse_response(store_command())


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_a_command_or_a_violation(noise: bytes) -> None:
    with suppress(Violation):
        parse_command(noise)
    with suppress(Violation):
        parse_response(noise)


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
def test_a_malformed_command_set_is_a_violation(claim: str) -> None:
    with pytest.raises(Violation, match="malformed-command"):
        parse_command(MALFORMED[claim])
