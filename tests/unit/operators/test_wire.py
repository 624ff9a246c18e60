"""What a store, or a proxy before it, may answer."""

import asyncio

import pytest

from operators.connectors.wire import Wire


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1"])
def test_an_answer_that_is_no_http_is_a_lost_connection(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer + b"\r\n\r\n")
        writer.close()

    async def asked() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1], is_tls=False)
            await wire.exchange(b"PUT / HTTP/1.1\r\n\r\n", (), lambda: None)

    with pytest.raises(ConnectionError):
        asyncio.run(asked())
