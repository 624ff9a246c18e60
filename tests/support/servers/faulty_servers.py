"""Servers on real sockets that fail in known ways: an object store, and a server that only listens."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate

SIGNATURE_S = 900.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection with this function for the block, and yield the server's port.

    A connection is closed when its function returns, and every connection after the block. asyncio's own server leaves
    those open that it accepted just before: nobody owns them when the loop ends.
    """
    loop = asyncio.get_running_loop()
    served: set[asyncio.Task[None]] = set()

    def accept(server: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):
            peer, _ = server.accept()
            task = loop.create_task(_serve_one(serve, peer))
            served.add(task)
            task.add_done_callback(served.discard)
            # A task that is cancelled before it begins closes nothing.
            task.add_done_callback(lambda _: peer.close())

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        loop.add_reader(server, accept, server)
        try:
            yield server.getsockname()[1]
        finally:
            loop.remove_reader(server)
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)


async def _serve_one(serve: Serve, peer: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=peer)
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        try:
            await serve(reader, writer)
            writer.close()
            # What is written goes out first. Without the shield, a cancelled wait would end the next one, too.
            await asyncio.shield(writer.wait_closed())
        finally:
            writer.transport.abort()
            await writer.wait_closed()


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep a connection open and never answer."""
    del reader, writer
    await asyncio.Event().wait()


def signed_at(headers: Mapping[str, str]) -> float:
    """Return the Unix time for which a request was signed."""
    return datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@dataclass
class FaultyStore:
    """An S3 store for PUT, HEAD and ranged GET, which fails as `fault` says (see FAULTS).

    It refuses signatures that are 15 minutes from its own clock, as S3 does.
    """

    fault: str = "works"
    slow_s: float = 6.0
    has_buckets: bool = True
    objects: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the connection ends."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            await FAULTS[self.fault](self, reader, writer, (method, path, headers))

    async def works(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Carry out a request and answer it."""
        status, headers, body = await self.carry_out(reader, request)
        dated = headers | {"date": formatdate(self.clock(), usegmt=True)}
        head = f"HTTP/1.1 {status} -\r\n" + "".join(f"{name}: {value}\r\n" for name, value in dated.items())
        writer.write(head.encode("latin-1") + b"\r\n" + body)
        await writer.drain()

    async def carry_out(
        self, reader: asyncio.StreamReader, request: tuple[str, str, dict[str, str]]
    ) -> tuple[int, dict[str, str], bytes]:
        """Carry out a request; return status, headers and body of the answer."""
        method, path, headers = request
        if abs(signed_at(headers) - self.clock()) > SIGNATURE_S:
            await reader.readexactly(int(headers.get("content-length", 0)))
            return 403, {"content-length": "0"}, b""
        if method == "PUT":
            return await self._put(reader, path, headers)
        is_bucket = path.count("/") == 1
        if is_bucket:
            return 200 if self.has_buckets else 404, {"content-length": "0"}, b""
        if path not in self.objects:
            return 404, {"content-length": "0"}, b""
        kept, data = self.objects[path]
        if method == "HEAD":
            return 200, kept | {"content-length": str(len(data))}, b""
        first, _, last = headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        cut = data[int(first) : int(last) + 1 if last else None]
        return 206, kept | {"content-length": str(len(cut))}, cut

    async def _put(
        self, reader: asyncio.StreamReader, path: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        data = await reader.readexactly(int(headers["content-length"]))
        if not self.has_buckets:
            return 404, {"content-length": "0"}, b""
        if path in self.objects:
            return 412, {"content-length": "0"}, b""
        kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        self.objects[path] = kept, data
        return 200, {"content-length": "0", "x-amz-checksum-crc32c": headers["x-amz-checksum-crc32c"]}, b""

    async def silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: object) -> None:
        """Never answer."""
        await swallow(reader, writer)

    async def slow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Carry out a request after `slow_s` seconds."""
        await asyncio.sleep(self.slow_s)
        await self.works(reader, writer, request)

    async def fails(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Carry out a request, and answer that it failed."""
        await self.carry_out(reader, request)
        writer.write(b"HTTP/1.1 500 -\r\ncontent-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n")
        await writer.drain()

    async def undated(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Answer without a date."""
        await self.carry_out(reader, request)
        writer.write(b"HTTP/1.1 200 -\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def cuts_off(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Carry out a request, and close the connection within the answer."""
        await self.carry_out(reader, request)
        writer.write(b"HTTP/1.1 2")
        await writer.drain()
        raise ConnectionAbortedError

    async def full(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: tuple[str, str, dict[str, str]]
    ) -> None:
        """Refuse every PUT for want of space; carry out other requests."""
        if request[0] != "PUT":
            await self.works(reader, writer, request)
            return
        await reader.readexactly(int(request[2]["content-length"]))
        writer.write(b"HTTP/1.1 507 -\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()


FAULTS = {
    "works": FaultyStore.works,
    "silent": FaultyStore.silent,
    "slow": FaultyStore.slow,
    "fails": FaultyStore.fails,
    "undated": FaultyStore.undated,
    "cuts_off": FaultyStore.cuts_off,
    "full": FaultyStore.full,
}
