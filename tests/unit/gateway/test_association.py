"""An association answers everything it was asked, whenever it came, and gives its place back whatever fails."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.intake import Connectors
from gateway.process import opened
from gateway.upper_layer import data_pdus
from operators.connectors.memory import MemoryEventLog, MemoryObjectStore
from operators.ports import Upload
from schemas.objects import Bucket
from schemas.settings import GatewaySettings
from schemas.topics import TRANSFER_ENDED
from tests.bench.scu import CONTEXT, element, pdv, request, uid
from tests.e2e.sender import Peer
from tests.unit.gateway.test_outbox import CT, EXPLICIT, data_set

FullDisk = Callable[[], AbstractContextManager[None]]
P_DATA, RELEASE_RP, ABORT = 4, 6, 7
LAST = 2


class Gated(MemoryObjectStore):
    """A store whose first PUT waits."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    async def put(self, bucket: Bucket, upload: Upload) -> bool:
        self.reached.set()
        await self.gate.wait()
        return await super().put(bucket, upload)


def command(number: int) -> bytes:
    """Pack a C-STORE-RQ (PS3.7 9.3.1.1)."""
    values = {
        0x0002: uid(CT),
        0x0100: struct.pack("<H", 1),
        0x0110: struct.pack("<H", number),
        0x0700: b"\0\0",
        0x0800: struct.pack("<H", 1),
        0x1000: uid(f"1.2.3.{number}"),
    }
    body = b"".join(element(tag, value) for tag, value in values.items())
    return data_pdus(CONTEXT, element(0, struct.pack("<I", len(body))) + body, 16384)


def store(number: int) -> bytes:
    return command(number) + pdv(data_set(number, "1.2.3"), LAST)


async def pdu(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readexactly(6)
        return head + await reader.readexactly(int.from_bytes(head[2:6], "big"))


async def associated(listening: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = listening.getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request(Peer(port), CT, EXPLICIT))
    assert (await pdu(reader))[0] == 2
    return reader, writer


def settings(folder: Path, memory_instance_bytes: int = 2**20) -> GatewaySettings:
    return GatewaySettings(
        processes=1,
        spool_dir=folder / "spool",
        outbox_dir=folder / "outbox",
        memory_instance_bytes=memory_instance_bytes,
    )


@pytest.mark.parametrize(
    ("second", "answer"), [(store(2), P_DATA), (b"\x05\0\0\0\0\4\0\0\0\0", RELEASE_RP)], ids=["store", "release"]
)
def test_what_arrives_just_as_the_work_ends_is_answered(tmp_path: Path, second: bytes, answer: int) -> None:
    async def answers() -> list[int]:
        gated = Gated()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with opened(listening, settings(tmp_path), Connectors(gated, MemoryEventLog())):
                reader, writer = await associated(listening)
                writer.write(store(1))
                await gated.reached.wait()
                gated.gate.set()
                # Readable in the very turn in which the work wakes and ends.
                writer.get_extra_info("socket")._sock.send(second)
                kinds = [(await pdu(reader))[0] for _ in range(2)]
                writer.transport.abort()
                return kinds

    assert asyncio.run(answers()) == [P_DATA, answer]


def test_a_spool_that_is_full_is_answered_a700(tmp_path: Path, full_disk: FullDisk) -> None:
    async def answered() -> bytes:
        connectors = Connectors(MemoryObjectStore(), MemoryEventLog())
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with opened(listening, settings(tmp_path, memory_instance_bytes=0), connectors):
                reader, writer = await associated(listening)
                with full_disk():
                    writer.write(command(1) + pdv(bytes(9000), LAST))
                    answer = await pdu(reader)
                writer.transport.abort()
                return answer

    answer = asyncio.run(answered())

    assert answer[0] == P_DATA
    assert element(0x0900, struct.pack("<H", 0xA700)) in answer


def test_a_sender_that_pauses_between_requests_keeps_its_association_beyond_the_stall(tmp_path: Path) -> None:
    async def answers() -> list[int]:
        patient, events = replace(settings(tmp_path), stall_s=0.1, idle_s=0.4), MemoryEventLog()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with opened(listening, patient, Connectors(MemoryObjectStore(), events)):
                reader, writer = await associated(listening)
                writer.write(store(1))
                stored, began_at = (await pdu(reader))[0], asyncio.get_running_loop().time()
                ended = (await pdu(reader))[0]
                writer.transport.abort()
                assert asyncio.get_running_loop().time() - began_at > 0.3
                async with asyncio.timeout(5):
                    while not events.events(TRANSFER_ENDED):  # noqa: ASYNC110 - the twin tells nobody
                        await asyncio.sleep(0.001)
                return [stored, ended]

    assert asyncio.run(answers()) == [P_DATA, ABORT]


def test_a_message_that_stops_between_its_pdus_ends_the_association(tmp_path: Path) -> None:
    async def ended() -> int:
        hasty = replace(settings(tmp_path), stall_s=0.1)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with opened(listening, hasty, Connectors(MemoryObjectStore(), MemoryEventLog())):
                reader, writer = await associated(listening)
                writer.write(command(1))
                kind = (await pdu(reader))[0]
                writer.transport.abort()
                return kind

    assert asyncio.run(ended()) == ABORT
