"""What a store, or a proxy before it, may answer, and when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from operators.connectors.s3.wire import Answer, Wire

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIRED = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REQUEST = b"PUT / HTTP/1.1\r\n\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def wired(serve: Serve) -> AsyncIterator[Wire]:
    """Return a wire to a server that does this on each connection."""

    served: set[asyncio.Task[object] | None] = set()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(closing, "127.0.0.1", 0) as server:
        wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1], is_tls=False)
        yield wire
        await wire.close()
        await asyncio.gather(*(task for task in served if task))


async def ask(wire: Wire) -> Answer:
    async with asyncio.timeout(5):
        return await wire.exchange(REQUEST, (), lambda: None)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1", b"x" * 100_000])
def test_an_answer_that_is_no_http_is_a_lost_connection(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer + b"\r\n\r\n")

    async def asked() -> None:
        async with wired(serve) as wire:
            with pytest.raises(ConnectionError):
                await ask(wire)

    asyncio.run(asked())


def test_an_answer_may_come_byte_by_byte() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in WELL:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async def asked() -> Answer:
        async with wired(serve) as wire:
            return await ask(wire)

    assert asyncio.run(asked()) == Answer(200, {"content-length": "2"}, is_kept=True)


@pytest.mark.parametrize("unasked", [TIRED, b"", b"noise"])
def test_what_comes_unasked_on_a_connection_that_rests_costs_nobody_an_answer(unasked: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WELL)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(unasked)

    async def asked() -> list[int]:
        async with wired(serve) as wire:
            first = await ask(wire)
            await asyncio.sleep(0.1)
            return [first.status, (await ask(wire)).status]

    assert asyncio.run(asked()) == [200, 200]
    assert connections == 2


@pytest.mark.parametrize("crossing", [TIRED, b""])
def test_a_request_that_crosses_the_end_of_a_resting_connection_is_sent_again(crossing: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WELL)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(crossing)

    async def asked() -> list[int]:
        async with wired(serve) as wire:
            return [(await ask(wire)).status for _ in range(2)]

    assert asyncio.run(asked()) == [200, 200]
    assert connections == 2


def test_a_fresh_connection_that_is_cut_is_a_failure() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async def asked() -> None:
        async with wired(serve) as wire:
            with pytest.raises(ConnectionError):
                await ask(wire)

    asyncio.run(asked())
    assert connections == 1
