"""A DIMSE door in memory, spoken to over loopback in raw PDUs."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.dimse.connection import DimseConnection
from gateway.dimse.door import Door
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.dimse.pdu import data_pdus
from operators.store.ports import PlainUpload
from schemas.objects import Bucket
from tests.support.senders.scu import CONTEXT, element, pdv, request, uid
from tests.support.senders.sender import Peer
from tests.support.worlds.gateway import GatewaySections, door_of, gateway_in
from tests.support.worlds.intake import CT, EXPLICIT, data_set

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
VERIFICATION = "1.2.840.10008.1.1"
ACCEPT, REJECT, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7
LAST = 2


class GatedStore(MemoryObjectStore):
    """A store whose first PUT waits."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.reached.set()
        await self.gate.wait()
        return await super().put(bucket, upload)


def store_command(number: int) -> bytes:
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


def store_message(number: int) -> bytes:
    return store_command(number) + pdv(data_set(number, "1.2.3"), LAST)


async def next_pdu(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readexactly(6)
        return head + await reader.readexactly(int.from_bytes(head[2:6], "big"))


async def associated(listening: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = listening.getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request(Peer(port), CT, EXPLICIT))
    assert (await next_pdu(reader))[0] == 2
    return reader, writer


def settings(folder: Path, memory_instance_bytes: int = 2**20) -> GatewaySections:
    return gateway_in(folder, memory_instance_bytes=memory_instance_bytes)


def release_request() -> bytes:
    return b"\x05\0\0\0\0\4\0\0\0\0"


def echo_message(number: int) -> bytes:
    """Pack a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    values = {0x0002: uid(VERIFICATION), 0x0100: b"\x30\0", 0x0110: struct.pack("<H", number), 0x0800: b"\1\1"}
    body = b"".join(element(tag, value) for tag, value in values.items())
    return data_pdus(CONTEXT, element(0, struct.pack("<I", len(body))) + body, 16384)


def cancel_message() -> bytes:
    """Pack a C-CANCEL-RQ (PS3.7 9.3.2.3)."""
    values = {0x0100: b"\xff\x0f", 0x0120: b"\1\0", 0x0800: b"\1\1"}
    body = b"".join(element(tag, value) for tag, value in values.items())
    return data_pdus(CONTEXT, element(0, struct.pack("<I", len(body))) + body, 16384)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


@asynccontextmanager
async def memory_door(settings: GatewaySections) -> AsyncIterator[tuple[socket.socket, Door]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with door_of(listening, settings, Connectors(MemoryObjectStore(), MemoryEventLog())) as door:
            yield listening, door


async def connected(listening: socket.socket, sent: bytes, source: str = "127.0.0.1") -> Streams:
    host, port = listening.getsockname()
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    writer.write(sent)
    return reader, writer


async def next_kind(peer: Streams) -> int:
    """Return the kind of the next PDU; 0 if the connection is closed."""
    try:
        return (await next_pdu(peer[0]))[0]
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0


def associate_request(sop_class: str = CT) -> bytes:
    return request(Peer(0), sop_class, EXPLICIT)


async def is_answered(peer: Streams, sent: bytes, answers: int) -> bool:
    """Send bytes and read `answers` PDUs; True if all of them are data, so that the association is still open."""
    peer[1].write(sent)
    kinds = [await next_kind(peer) for _ in range(answers)]
    return kinds == [P_DATA] * answers


def only_connection(door: Door) -> DimseConnection:
    """Return the one connection of a door."""
    (connection,) = door.connections
    assert isinstance(connection, DimseConnection)
    return connection
