"""A request gets its own response or fails, whatever a store or a proxy sends, and whenever it sends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from operators.connectors.s3.wire import BrokenOff, ConnectionPool, HttpResponse
from tests.support.servers.faulty_servers import Serve, listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REQUEST = b"PUT / HTTP/1.1\r\n\r\n"


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[ConnectionPool]:
    """Yield a pool of connections to a server that calls `serve` for each connection."""
    async with listening(serve) as port:
        pool = ConnectionPool("127.0.0.1", port)
        try:
            yield pool
        finally:
            await pool.close()


async def ask(pool: ConnectionPool) -> HttpResponse:
    async with asyncio.timeout(5):
        return await pool.exchange(REQUEST, (), lambda: None)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1", b"x" * 100_000])
def test_a_response_that_is_not_http_is_a_connection_error(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer + b"\r\n\r\n")

    async def run() -> None:
        async with connected(serve) as pool:
            with pytest.raises(ConnectionError):
                await ask(pool)

    asyncio.run(run())


def test_a_response_may_arrive_byte_by_byte() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> HttpResponse:
        async with connected(serve) as pool:
            return await ask(pool)

    assert asyncio.run(run()) == HttpResponse(200, {"content-length": "2"}, is_kept=True, body=b"ok")


@pytest.mark.parametrize("unasked", [REQUEST_TIMEOUT, b"", b"noise"])
def test_bytes_that_arrive_on_an_idle_connection_are_not_taken_for_a_response(unasked: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(unasked)

    async def run() -> list[int]:
        async with connected(serve) as pool:
            first = await ask(pool)
            await asyncio.sleep(0.1)
            return [first.status, (await ask(pool)).status]

    assert asyncio.run(run()) == [200, 200]
    assert connections == 2


@pytest.mark.parametrize("crossing", [REQUEST_TIMEOUT, b""])
def test_a_request_is_sent_again_when_the_server_closes_its_idle_connection(crossing: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(crossing)

    async def run() -> list[int]:
        async with connected(serve) as pool:
            return [(await ask(pool)).status for _ in range(2)]

    assert asyncio.run(run()) == [200, 200]
    assert connections == 2


def test_a_request_fails_when_its_new_connection_is_cut() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async def run() -> None:
        async with connected(serve) as pool:
            with pytest.raises(ConnectionError):
                await ask(pool)

    asyncio.run(run())
    assert connections == 1


LONG = 200_000


@pytest.mark.parametrize("closes", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_a_body_that_is_wanted_is_waited_for_whether_or_not_the_connection_is_kept(closes: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 206 OK\r\n" + closes + b"Content-Length: %d\r\n\r\n" % LONG)
        for _ in range(LONG // 50_000):
            writer.write(b"x" * 50_000)
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> HttpResponse:
        async with connected(serve) as pool, asyncio.timeout(5):
            return await pool.exchange(REQUEST, (), lambda: None, wanted_bytes=LONG)

    response = asyncio.run(run())
    assert (response.body, response.is_kept) == (b"x" * LONG, not closes)


def test_a_body_that_breaks_off_is_told_from_a_connection_that_fails() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 206 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async def run() -> None:
        async with connected(serve) as pool, asyncio.timeout(5):
            with pytest.raises(BrokenOff):
                await pool.exchange(REQUEST, (), lambda: None, wanted_bytes=10)

    asyncio.run(run())
