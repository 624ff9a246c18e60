"""A C-STORE is answered with the outcome for its instance."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from structlog.testing import capture_logs

from gateway.dimse.services.service import Association
from gateway.dimse.services.store import CStoreRequest, begin
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.dicom.instance import data_hasher
from operators.dimse.commands import C_STORE, Command, CommandResponse, parse_response
from operators.dimse.negotiation import AssociateAccepted, PresentationContext
from operators.errors import Rejected, Unavailable
from operators.store.ports import PlainUpload
from schemas.objects import Bucket
from tests.support.senders.scu import element, pdv
from tests.support.worlds.dimse import (
    LAST,
    P_DATA,
    associated,
    next_pdu,
    settings,
    store_command,
)
from tests.support.worlds.gateway import door_of
from tests.support.worlds.intake import CT, EXPLICIT, IntakeWorld, data_set

FullDisk = Callable[[], AbstractContextManager[None]]


def test_a_full_spool_is_answered_with_a700(tmp_path: Path, full_disk: FullDisk) -> None:
    async def answered() -> bytes:
        connectors = Connectors(MemoryObjectStore(), MemoryEventLog())
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path, memory_instance_bytes=0), connectors):
                reader, writer = await associated(listening)
                with full_disk():
                    writer.write(store_command(1) + pdv(bytes(9000), LAST))
                    answer = await next_pdu(reader)
                writer.transport.abort()
                return answer

    answer = asyncio.run(answered())

    assert answer[0] == P_DATA
    assert element(0x0900, struct.pack("<H", 0xA700)) in answer


def test_a_content_beside_the_shown_one_is_answered_with_a_warning(tmp_path: Path) -> None:
    process = IntakeWorld(tmp_path).gateway()
    association = Association(
        AssociateAccepted("SENDER", "FLUORO", {1: PresentationContext(CT, EXPLICIT)}, 0, b""),
        process.transfer,
        process.acceptance,
    )
    shown = data_set(1, "1.2.3")

    async def statuses() -> list[int]:
        found: list[int] = []
        for content in (shown, shown.replace(b"1.2.3.9", b"1.2.3.8"), shown):
            request = begin(association, Command(C_STORE, 7, CT, "1.2.3.1", has_data=True), 1)
            request.body.write(memoryview(content))
            await request.answer(lambda _, command_set, __=b"": found.append(parse_response(command_set).status))
        return found

    assert asyncio.run(statuses()) == [0x0000, 0xB007, 0x0000]


MR = "1.2.840.10008.5.1.4.1.1.4"


def begun(folder: Path, context_class: str, command_class: str) -> CStoreRequest:
    process = IntakeWorld(folder).gateway()
    contexts = {1: PresentationContext(context_class, EXPLICIT)}
    association = Association(
        AssociateAccepted("SENDER", "FLUORO", contexts, 0, b""), process.transfer, process.acceptance
    )
    return begin(association, Command(C_STORE, 7, command_class, "1.2.3.1", has_data=True), 1)


def answer_to(request: CStoreRequest) -> CommandResponse:
    responses: list[bytes] = []
    asyncio.run(request.answer(lambda _, command_set, __=b"": responses.append(command_set)))
    (answer,) = map(parse_response, responses)
    return answer


def status_of(request: CStoreRequest) -> int:
    return answer_to(request).status


def test_an_instance_is_stored_and_its_memory_freed(tmp_path: Path) -> None:
    request = begun(tmp_path, CT, CT)
    request.body.write(memoryview(data_set(1, "1.2.3")))

    assert status_of(request) == 0x0000
    assert request.association.transfer.instances == 1
    assert request.association.acceptance.room.held_bytes == 0


def test_another_class_than_the_contexts_is_refused_after_the_data_set(tmp_path: Path) -> None:
    request = begun(tmp_path, MR, CT)
    request.body.write(memoryview(data_set(1, "1.2.3")))

    assert isinstance(request.body.failed, Rejected)
    assert request.body.failed.reason == "other-class"
    assert status_of(request) == 0x0122


def test_an_instances_class_is_that_of_the_context_not_of_the_command(tmp_path: Path) -> None:
    assert begun(tmp_path, CT, "1.9.8").incoming.sop_class == CT


def test_a_refusal_says_why_and_its_log_line_has_the_hash(tmp_path: Path) -> None:
    request = begun(tmp_path, CT, CT)
    request.body.write(memoryview(cut := data_set(1, "1.2.3")[:60]))

    (whole_hash := data_hasher(EXPLICIT)).update(cut)

    with capture_logs() as logs:
        answer = answer_to(request)

    assert (answer.status, answer.comment) == (0xC000, "quarantined: Study Instance UID is missing")
    (line,) = logs
    assert (line["event"], line["reason"], line["hash"]) == (
        "instance_refused",
        "no-usable-uid",
        whole_hash.hexdigest(),
    )


def test_an_instance_that_was_dropped_before_its_end_has_no_hash_in_the_log(tmp_path: Path) -> None:
    request = begun(tmp_path, CT, CT)
    request.body.write(memoryview(data_set(1, "1.2.3")))
    request.body.fail(Unavailable("spool"))

    with capture_logs() as logs:
        answer = answer_to(request)

    assert (answer.status, answer.comment) == (0xA700, "not stored, send again: no memory or disk space is free")
    assert [(line["event"], line["hash"]) for line in logs] == [("instance_refused", None)]


class FaultyStore(MemoryObjectStore):
    """A store that fails unexpectedly at its first object."""

    is_failing = True

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        if self.is_failing:
            self.is_failing = False
            raise RuntimeError
        return await super().put(bucket, upload)


def test_an_unexpected_error_fails_one_instance_and_the_association_goes_on(tmp_path: Path) -> None:
    async def answered() -> list[bytes]:
        connectors = Connectors(FaultyStore(), MemoryEventLog())
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path), connectors):
                reader, writer = await associated(listening)
                answers = []
                for number in (1, 2):
                    writer.write(store_command(number) + pdv(data_set(number, "1.2.3"), LAST))
                    answers.append(await next_pdu(reader))
                writer.transport.abort()
                return answers

    failed, stored = asyncio.run(answered())

    assert element(0x0900, struct.pack("<H", 0x0110)) in failed
    assert element(0x0900, struct.pack("<H", 0x0000)) in stored
