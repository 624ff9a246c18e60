"""HTTP/1.1 requests over asyncio's protocols, with no more features than the PUT of an object needs, and the GET of its first bytes.

For a PUT of 529 KB on a busy machine, aiohttp takes twice the CPU, asyncio's streams a third more (DECISIONS 8, 10); for a
GET of 15 KB aiohttp takes twice the CPU, too.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

Buffer = bytes | bytearray | memoryview

CHUNK_BYTES = 1024 * 1024
SMALL_BYTES = 16 * 1024
RECEIVED_BYTES = 32 * 1024
MOST_RESPONSE_BYTES = 64 * 1024
MOST_IDLE = 64
# Idle connections are closed before the server closes them: MinIO's limit is at least 30 s.
KEEP_ALIVE_S = 15.0
END_OF_HEAD = b"\r\n\r\n"


class BrokenOff(ConnectionError):
    """The connection ended within the body of a response that was wanted."""


@dataclass(frozen=True)
class HttpResponse:
    """A response: its status, its headers (names in lower case), and True if its connection may be reused."""

    status: int
    headers: dict[str, str]
    is_kept: bool
    # What has arrived of its body: all of it, if the connection may be reused, or if it is no longer than was wanted.
    body: bytes = b""


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return what a request is sent with before its body."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class ConnectionPool:
    """Connections to one server, each used by one request at a time; the pool belongs to one event loop."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None, connect_s: float | None = None) -> None:
        self._connect_s = connect_s
        self._host = host
        self._port = port
        self._tls = tls
        self._idle: list[tuple[float, Connection]] = []

    async def exchange(
        self, head: bytes, body: Sequence[Buffer], on_progress: Callable[[], None], wanted_bytes: int = 0
    ) -> HttpResponse:
        """Send a request and return its response; `on_progress` is called after each piece of either.

        A body of at most `wanted_bytes` is waited for; raises BrokenOff when its connection ends before.

        A response that arrives early ends the sending, as when a store refuses an existing key at once. A request is
        sent a second time when it was sent on an idle connection that the server had closed or closes in that moment.
        Raises OSError, TimeoutError after `connect_s` without a connection; all other limits are left to the caller.
        """
        if idle := self._take_idle():
            with suppress(ConnectionError):
                response = await self._exchange_over(idle, head, body, on_progress, wanted_bytes)
                if response.status != HTTPStatus.REQUEST_TIMEOUT:
                    return response
        return await self._exchange_over(await self._connect(), head, body, on_progress, wanted_bytes)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            _, connection = self._idle.pop()
            await connection.close()

    async def _exchange_over(
        self,
        connection: "Connection",
        head: bytes,
        body: Sequence[Buffer],
        on_progress: Callable[[], None],
        wanted_bytes: int,
    ) -> HttpResponse:
        on_progress()
        response = await connection.exchange(_pieces(head, body), on_progress, wanted_bytes)
        if connection.is_open:
            self._keep(connection)
        return response

    def _take_idle(self) -> "Connection | None":
        now = asyncio.get_running_loop().time()
        while self._idle:
            idle_since, connection = self._idle.pop()
            if connection.is_open and now - idle_since < KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "Connection":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_s):
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        return connection

    def _keep(self, connection: "Connection") -> None:
        self._idle.append((asyncio.get_running_loop().time(), connection))
        if len(self._idle) > MOST_IDLE:
            _, oldest = self._idle.pop(0)
            oldest.abort()


class Connection(asyncio.BufferedProtocol):
    """One connection; it closes when bytes arrive while it is idle (such as a proxy's 408), or the server closes it."""

    def __init__(self) -> None:
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._space = memoryview(bytearray(RECEIVED_BYTES))
        self._received = bytearray()
        # How many bytes the response lacks at least.
        self._missing = 0
        self._wanted_bytes = 0
        self._on_progress: Callable[[], None] = _nothing
        self._response: asyncio.Future[HttpResponse] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def exchange(
        self, pieces: Iterator[Buffer], on_progress: Callable[[], None], wanted_bytes: int
    ) -> HttpResponse:
        """Send the pieces of a request and return its response; raises OSError, also BrokenOff.

        The connection stays open only if all pieces were sent and the server keeps it open.
        """
        self._response = self._loop.create_future()
        self._missing, self._wanted_bytes, self._on_progress = 0, wanted_bytes, on_progress
        try:
            is_sent = await self._send(pieces, self._response, on_progress)
            response = await self._response
        except BaseException:
            self.abort()
            raise
        self._response, self._on_progress = None, _nothing
        if not (is_sent and response.is_kept):
            self.abort()
        return response

    async def close(self) -> None:
        """Close the connection, and return when it is closed."""
        self.is_open = False
        self._transport.close()
        await self._lost

    def abort(self) -> None:
        """Close the connection without waiting."""
        self.is_open = False
        self._response = None
        self._transport.abort()

    async def _send(
        self, pieces: Iterator[Buffer], response: "asyncio.Future[HttpResponse]", on_progress: Callable[[], None]
    ) -> bool:
        """Send the pieces; False when a response or the end of the connection came before the last piece was sent."""
        for piece in pieces:
            self._transport.write(piece)
            if self._writable is not None:
                await self._writable
            if response.done():
                return False
            on_progress()
        return True

    # The methods of asyncio.BufferedProtocol, which asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport to send on."""
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Make the sender wait."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let the sender continue."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        del sizehint
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        """Add received bytes to the response; close the connection when no response is expected."""
        if self._response is None or self._response.done():
            self.abort()
            return
        self._received += self._space[:nbytes]
        self._missing -= nbytes
        self._on_progress()
        if self._missing > 0:
            return
        try:
            response = _parse_response(self._received, self._wanted_bytes)
        except ConnectionError as error:
            self._fail(self._response, error)
            return
        if isinstance(response, int):
            self._missing = response
            return
        self._received.clear()
        self._response.set_result(response)
        # The sender must not go on waiting until the server takes the rest of the body.
        self.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange in progress."""
        self.is_open = False
        if self._response is not None and not self._response.done():
            if self._wanted_bytes and END_OF_HEAD in self._received:
                exc = BrokenOff("the answer broke off")
            self._fail(
                self._response,
                exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"),
            )
        self._lost.set_result(None)

    def _fail(self, response: "asyncio.Future[HttpResponse]", error: OSError) -> None:
        response.set_exception(error)
        self.resume_writing()


def _pieces(head: bytes, body: Sequence[Buffer]) -> Iterator[Buffer]:
    """Yield a request in pieces that a socket can take at once; consecutive small parts are joined."""
    small = head
    for part in body:
        if len(part) <= SMALL_BYTES:
            small += part
            continue
        yield small
        small, view = b"", memoryview(part)
        for offset in range(0, len(view), CHUNK_BYTES):
            yield view[offset : offset + CHUNK_BYTES]
    if small:
        yield small


def _nothing() -> None:
    pass


def _parse_response(received: bytearray, wanted_bytes: int) -> HttpResponse | int:
    """Return the response, or how many bytes it lacks at least. Raises ConnectionError when the bytes are no HTTP response."""
    end = received.find(END_OF_HEAD)
    if end < 0:
        if len(received) > MOST_RESPONSE_BYTES:
            raise ConnectionError(f"response head of more than {MOST_RESPONSE_BYTES} bytes")
        return 1
    status, headers = _parse_head(received[:end].decode("latin-1"))
    try:
        length = int(headers.get("content-length", -1))
    except ValueError as error:
        raise ConnectionError("malformed content-length in the response") from error
    is_kept = 0 <= length <= max(MOST_RESPONSE_BYTES, wanted_bytes)
    is_kept = is_kept and headers.get("connection", "").lower() != "close"
    excess = len(received) - end - len(END_OF_HEAD) - length
    if (is_kept or length <= wanted_bytes) and excess < 0:
        return -excess
    return HttpResponse(status, headers, is_kept and excess == 0, bytes(received[end + len(END_OF_HEAD) :]))


def _parse_head(text: str) -> tuple[int, dict[str, str]]:
    status_line, *lines = text.split("\r\n")
    _, _, status = status_line.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return int(status[:3]), headers
    except ValueError as error:
        raise ConnectionError("malformed status line in the response") from error
