"""The contexts accepted, the services that a peer may use and the commands answered all follow from one table."""

import asyncio
from pathlib import Path

import pytest

from gateway.dimse.services.service import Association
from gateway.dimse.services.table import SERVICE_NAMES, SERVICES, begin, is_served
from operators.dimse.commands import C_CANCEL, C_ECHO, C_STORE, Command, parse_response
from operators.dimse.negotiation import AssociateAccepted, PresentationContext
from operators.dimse.pdu import Violation
from tests.support.worlds.intake import CT, EXPLICIT, IntakeWorld

VERIFICATION = "1.2.840.10008.1.1"
PRIVATE = "1.3.12.2.1107.5.9.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
C_FIND = 0x0020
CONTEXTS = {1: PresentationContext(CT, EXPLICIT), 3: PresentationContext(VERIFICATION, EXPLICIT)}


@pytest.fixture
def association(tmp_path: Path) -> Association:
    process = IntakeWorld(tmp_path).gateway()
    return Association(AssociateAccepted("SENDER", "FLUORO", CONTEXTS, 0, b""), process.transfer, process.acceptance)


def test_every_service_has_its_own_name_and_command() -> None:
    assert {"echo", "store"} == SERVICE_NAMES
    assert len({service.name for service in SERVICES}) == len(SERVICES)
    assert len({service.command_field for service in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize(
    ("abstract_syntax", "names", "expected"),
    [
        (VERIFICATION, SERVICE_NAMES, True),
        (VERIFICATION, {"store"}, False),
        (CT, SERVICE_NAMES, True),
        (CT, {"echo"}, False),
        (PRIVATE, {"store"}, True),
        (STUDY_FIND, SERVICE_NAMES, False),
    ],
)
def test_only_a_service_with_an_allowed_name_serves_a_context(
    abstract_syntax: str, names: set[str], *, expected: bool
) -> None:
    assert is_served(abstract_syntax, names) == expected


@pytest.mark.parametrize(
    ("command_field", "has_data", "context_id", "reason"),
    [
        (0x8020, False, 1, "unknown-command"),
        (0x0041, True, 1, "unknown-command"),
        (C_STORE, False, 1, "data-set-missing"),
        (C_ECHO, True, 3, "data-set-unexpected"),
    ],
)
def test_a_command_that_no_requestor_may_send_is_a_violation(
    association: Association, command_field: int, context_id: int, reason: str, *, has_data: bool
) -> None:
    with pytest.raises(Violation, match=reason):
        begin(association, Command(command_field, 7, CT, "1.2.3", has_data=has_data), context_id)


# C-GET, C-FIND, C-MOVE, N-EVENT-REPORT, N-GET, N-SET, N-ACTION, N-CREATE, N-DELETE.
UNSERVED = (0x0010, C_FIND, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150)


@pytest.mark.parametrize(
    ("command_field", "has_data", "context_id"),
    [
        *((field, has_data, context_id) for field in UNSERVED for has_data in (True, False) for context_id in (1, 3)),
        (C_STORE, True, 3),
        (C_STORE, False, 3),
        (C_ECHO, False, 1),
    ],
)
def test_an_operation_that_its_context_does_not_have_is_refused(
    association: Association, command_field: int, context_id: int, *, has_data: bool
) -> None:
    responses: list[tuple[int, bytes]] = []

    request = begin(association, Command(command_field, 7, CT, "1.2.3", has_data=has_data), context_id)
    if request.body is not None:
        request.body.write(memoryview(b"identifier"))
    asyncio.run(request.answer(lambda number, command_set, _=b"": responses.append((number, command_set))))
    request.close()

    ((number, command_set),) = responses
    said = parse_response(command_set)
    assert (request.body is not None) == has_data
    assert (number, said.field, said.answered_id, said.status) == (context_id, command_field | 0x8000, 7, 0x0211)


def test_a_cancel_is_a_request_without_a_response(association: Association) -> None:
    responses: list[bytes] = []

    request = begin(association, Command(C_CANCEL, 7, "", "", has_data=False), 1)
    asyncio.run(request.answer(lambda _, command_set, __=b"": responses.append(command_set)))

    assert request.body is None
    assert responses == []
