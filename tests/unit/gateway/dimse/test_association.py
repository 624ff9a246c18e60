"""An association answers everything it was asked, whenever it came, and gives its place back whatever fails."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gateway.dimse.association import Door
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.dimse.pdu import data_pdus
from operators.store.ports import Upload
from schemas.objects import Bucket
from schemas.telemetry import GATEWAY_ABORTED
from schemas.topics import TRANSFER_ENDED
from tests.support.senders.scu import CONTEXT, element, pdv, request, uid
from tests.support.senders.sender import Peer
from tests.support.worlds.gateway import GatewaySections, door_of, gateway_in
from tests.support.worlds.intake import CT, EXPLICIT, data_set

FullDisk = Callable[[], AbstractContextManager[None]]
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
VERIFICATION = "1.2.840.10008.1.1"
ACCEPT, REJECT, P_DATA, RELEASE_RP, ABORT = 2, 3, 4, 6, 7
A_ABORT = b"\x07\0\0\0\0\4\0\0\0\0"
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


def settings(folder: Path, memory_instance_bytes: int = 2**20) -> GatewaySections:
    return gateway_in(folder, memory_instance_bytes=memory_instance_bytes)


@pytest.mark.parametrize(
    ("second", "answer"), [(store(2), P_DATA), (b"\x05\0\0\0\0\4\0\0\0\0", RELEASE_RP)], ids=["store", "release"]
)
def test_what_arrives_just_as_the_work_ends_is_answered(tmp_path: Path, second: bytes, answer: int) -> None:
    async def answers() -> list[int]:
        gated = Gated()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path), Connectors(gated, MemoryEventLog())):
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
            async with door_of(listening, settings(tmp_path, memory_instance_bytes=0), connectors):
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
        patient, events = settings(tmp_path).changed(stall_s=0.1, idle_s=0.4), MemoryEventLog()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, patient, Connectors(MemoryObjectStore(), events)):
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
        hasty = settings(tmp_path).changed(stall_s=0.1)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, hasty, Connectors(MemoryObjectStore(), MemoryEventLog())):
                reader, writer = await associated(listening)
                writer.write(command(1))
                kind = (await pdu(reader))[0]
                writer.transport.abort()
                return kind

    assert asyncio.run(ended()) == ABORT


def release() -> bytes:
    return b"\x05\0\0\0\0\4\0\0\0\0"


def echo(number: int) -> bytes:
    """Pack a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    values = {0x0002: uid(VERIFICATION), 0x0100: b"\x30\0", 0x0110: struct.pack("<H", number), 0x0800: b"\1\1"}
    body = b"".join(element(tag, value) for tag, value in values.items())
    return data_pdus(CONTEXT, element(0, struct.pack("<I", len(body))) + body, 16384)


def cancel() -> bytes:
    """Pack a C-CANCEL-RQ (PS3.7 9.3.2.3)."""
    values = {0x0100: b"\xff\x0f", 0x0120: b"\1\0", 0x0800: b"\1\1"}
    body = b"".join(element(tag, value) for tag, value in values.items())
    return data_pdus(CONTEXT, element(0, struct.pack("<I", len(body))) + body, 16384)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


@asynccontextmanager
async def door_at(settings: GatewaySections) -> AsyncIterator[tuple[socket.socket, Door]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with door_of(listening, settings, Connectors(MemoryObjectStore(), MemoryEventLog())) as door:
            yield listening, door


async def says(listening: socket.socket, said: bytes, source: str = "127.0.0.1") -> Line:
    host, port = listening.getsockname()
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    writer.write(said)
    return reader, writer


async def kind_of(line: Line) -> int:
    """Return the kind of the next PDU; 0 when there is none any more."""
    try:
        return (await pdu(line[0]))[0]
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0


def hello(sop_class: str = CT) -> bytes:
    return request(Peer(0), sop_class, EXPLICIT)


ONLY_ELSEWHERE = """
[[peer]]
name = "ct1"
calling_ae = "CT1"
networks = ["10.0.0.0/8"]
tenant = "local"
services = ["store"]
"""


@pytest.mark.parametrize("more", [b"", release(), release() * 3, store(1), hello()], ids=len)
def test_a_stranger_counts_until_its_socket_is_gone_whatever_else_it_says(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "peers.toml").write_text(ONLY_ELSEWHERE)
    closed = settings(tmp_path).changed(peers_file=str(tmp_path / "peers.toml"), associations_per_address=4)

    async def held() -> tuple[list[int], int, int]:
        async with door_at(closed) as (listening, door):
            lines = [await says(listening, hello() + more) for _ in range(8)]
            kinds = [await kind_of(line) for line in lines]
            await until(lambda: len(door.connections) == 4)
            counted, large = door.admission.waiting, sum(len(one._reader._buffer) > 2**16 for one in door.connections)
            for _, writer in lines:
                writer.transport.abort()
            await until(lambda: not door.connections)
            assert door.admission.waiting == 0
            return kinds, counted, large

    assert asyncio.run(held()) == ([REJECT] * 4 + [0] * 4, 4, 0)


def test_who_has_released_counts_until_its_socket_is_gone_and_gives_way(tmp_path: Path) -> None:
    async def held() -> tuple[list[int], int, int]:
        async with door_at(settings(tmp_path).changed(associations=3)) as (listening, door):
            lines = [await says(listening, hello() + release()) for _ in range(3)]
            assert [await kind_of(line) for line in lines * 2] == [ACCEPT] * 3 + [RELEASE_RP] * 3
            counted = door.associated
            lines += [await says(listening, hello()) for _ in range(3)]
            kinds = [await kind_of(line) for line in lines]
            await until(lambda: len(door.connections) == 3)
            associated = door.associated
            for _, writer in lines:
                writer.transport.abort()
            return kinds, counted, associated

    assert asyncio.run(held()) == ([0] * 3 + [ACCEPT] * 3, 3, 3)


def test_who_has_released_and_keeps_talking_is_cut_off(tmp_path: Path) -> None:
    async def ends() -> None:
        async with door_at(settings(tmp_path).changed(silence_s=0.2)) as (listening, door):
            line = await says(listening, hello() + release())
            assert [await kind_of(line) for _ in range(2)] == [ACCEPT, RELEASE_RP]

            def is_gone() -> bool:
                line[1].write(b"\x04")
                return not door.connections

            await until(is_gone)
            line[1].transport.abort()

    asyncio.run(ends())


def test_a_request_after_the_release_request_is_a_violation(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        async with door_at(settings(tmp_path)) as (listening, _):
            line = await says(listening, hello() + store(1) + release() + store(2))
            found = [await kind_of(line) for _ in range(2)]
            line[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT, ABORT]


def test_echoes_keep_nobody_out_who_stores(tmp_path: Path) -> None:
    async def hears() -> list[int]:
        async with door_at(settings(tmp_path).changed(associations=2, yield_s=0.2)) as (listening, door):
            echoing = [await says(listening, hello(VERIFICATION)) for _ in range(2)]
            assert [await kind_of(line) for line in echoing] == [ACCEPT] * 2

            async def ask(line: Line) -> None:
                number = 1
                while await says_more(line, echo(number) * 50, 50):
                    number += 1

            asking = [asyncio.create_task(ask(line)) for line in echoing]
            storing = await says(listening, hello(), "127.0.0.2")
            async with asyncio.timeout(5):
                while (kind := await kind_of(storing)) == REJECT:
                    storing[1].transport.abort()
                    await asyncio.sleep(0.02)
                    storing = await says(listening, hello(), "127.0.0.2")
            storing[1].write(store(1))
            found = [kind, await kind_of(storing)]
            for _, writer in [*echoing, storing]:
                writer.transport.abort()
            await asyncio.gather(*asking)
            await until(lambda: not door.connections)
            return found

    assert asyncio.run(hears()) == [ACCEPT, P_DATA]


async def says_more(line: Line, said: bytes, answers: int) -> bool:
    """Say more and hear so many answers; False when the association is over."""
    line[1].write(said)
    kinds = [await kind_of(line) for _ in range(answers)]
    return kinds == [P_DATA] * answers


def test_who_echoes_once_a_while_is_idle_not_stalled(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        patient = settings(tmp_path).changed(stall_s=0.1, idle_s=30.0)
        async with door_at(patient) as (listening, _):
            line = await says(listening, hello(VERIFICATION))
            line[1].write(echo(1))
            found = [await kind_of(line) for _ in range(2)]
            await asyncio.sleep(0.3)
            assert await says_more(line, echo(2), 1)
            line[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT, P_DATA]


def test_a_cancel_has_no_answer(tmp_path: Path) -> None:
    async def answers() -> list[int]:
        async with door_at(settings(tmp_path)) as (listening, _):
            line = await says(listening, hello(VERIFICATION) + cancel() + echo(1) + release())
            found = [await kind_of(line) for _ in range(3)]
            line[1].transport.abort()
            return found

    assert asyncio.run(answers()) == [ACCEPT, P_DATA, RELEASE_RP]


@pytest.mark.parametrize("what", ["echo", "store", "cancel"])
def test_who_asks_without_end_and_waits_for_no_answer_is_aborted(tmp_path: Path, what: str) -> None:
    sop_class, asks = {
        "echo": (VERIFICATION, b"".join(map(echo, range(1, 11)))),
        "store": (CT, b"".join(map(store, range(1, 11)))),
        "cancel": (VERIFICATION, cancel() * 10),
    }[what]

    async def left() -> int:
        async with door_at(settings(tmp_path).changed(unanswered_requests=8)) as (listening, door):
            line = await says(listening, hello(sop_class))
            assert await kind_of(line) == ACCEPT
            line[1].write(asks)
            while await kind_of(line) == P_DATA:
                pass
            line[1].transport.abort()
            await until(lambda: not door.connections)
            return door.inside.room.held_bytes

    counted = GATEWAY_ABORTED.labels("too-many-unanswered")
    before = counted._value.get()

    assert asyncio.run(left()) == 0
    assert counted._value.get() == before + 1


def test_a_few_requests_may_come_before_their_turn(tmp_path: Path) -> None:
    async def kinds() -> list[int]:
        async with door_at(settings(tmp_path).changed(unanswered_requests=8)) as (listening, _):
            line = await says(listening, hello(VERIFICATION))
            line[1].write(b"".join(map(echo, range(1, 9))) + release())
            found = [await kind_of(line) for _ in range(10)]
            line[1].transport.abort()
            return found

    assert asyncio.run(kinds()) == [ACCEPT] + [P_DATA] * 8 + [RELEASE_RP]


def abort(writer: asyncio.StreamWriter) -> None:
    writer.write(A_ABORT)


def half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


@pytest.mark.parametrize(("end", "silence_s"), [(abort, 30.0), (half_close, 0.2)])
def test_who_ends_it_is_gone_soon_even_when_it_reads_no_answer(
    tmp_path: Path, end: Callable[[asyncio.StreamWriter], None], silence_s: float
) -> None:
    async def ends() -> None:
        async with door_at(settings(tmp_path).changed(silence_s=silence_s, unanswered_requests=10_000)) as (
            listening,
            door,
        ):
            line = await says(listening, hello(VERIFICATION))
            assert await kind_of(line) == ACCEPT
            (one,) = door.connections
            # More answers than the sockets hold: some stay in the door.
            one._transport.set_write_buffer_limits(high=2**24)
            one._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            line[1].transport.pause_reading()  # type: ignore[attr-defined]
            line[1].write(echo(1) * 5_000)
            await until(lambda: one._pdus == 5_001 and one.working is None)
            assert one._transport.get_write_buffer_size()
            end(line[1])
            await until(lambda: not door.connections)
            assert door.admission.associated == 0
            line[1].transport.abort()

    asyncio.run(ends())


def test_nothing_new_is_begun_once_the_door_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Gated):
        puts = 0

        async def put(self, bucket: Bucket, upload: Upload) -> bool:
            self.puts += 1
            return await super().put(bucket, upload)

    async def puts() -> int:
        for module in ("process", "intake.lifespan"):
            monkeypatch.setattr(f"gateway.{module}.STOP_S", 0.05)
        gated = Counting()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with door_of(listening, settings(tmp_path), Connectors(gated, MemoryEventLog())) as door:
                line = await associated(listening)
                line[1].write(store(1) + store(2) + store(3))
                await gated.reached.wait()
                (one,) = door.connections
                await until(lambda: one._requests)
            line[1].transport.abort()
        return gated.puts

    assert asyncio.run(puts()) == 1
