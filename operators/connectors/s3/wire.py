"""HTTP/1.1 requests with large bodies over bare asyncio: what a PUT needs and nothing else.

aiohttp takes twice the CPU for it, asyncio's streams a third more (529 KB on a busy machine: DECISIONS 8 and 10).
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

Buffer = bytes | bytearray | memoryview

CHUNK_BYTES = 1024 * 1024
SMALL_BYTES = 16 * 1024
RECEIVED_BYTES = 4 * 1024
MOST_ANSWER_BYTES = 64 * 1024
MOST_IDLE = 64
# Given up before the other side would: MinIO's own limit is 30 s and more.
KEEP_ALIVE_S = 15.0
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """A response: its status, its headers (names in lower case), whether its connection may be used again."""

    status: int
    headers: dict[str, str]
    is_kept: bool


class Wire:
    """Connections to one server, each for one request at a time. Belongs to one event loop."""

    def __init__(self, host: str, port: int, *, is_tls: bool) -> None:
        self._host = host
        self._port = port
        self._tls = ssl.create_default_context() if is_tls else None
        self._idle: list[tuple[float, Connection]] = []

    async def exchange(self, head: bytes, body: Sequence[Buffer], moved: Callable[[], None]) -> Answer:
        """Send a request and give its answer; `moved` is called whenever there was progress.

        An answer that comes before the body was sent ends the sending: a store refuses a key that is there at once.
        A request may be sent twice: when a connection that rested turns out to be closed, or given up by the other
        side in the same moment. Raises OSError, and leaves time limits to the caller.
        """
        if rested := self._rested():
            with suppress(ConnectionError):
                answer = await self._over(rested, head, body, moved)
                if answer.status != HTTPStatus.REQUEST_TIMEOUT:
                    return answer
        return await self._over(await self._connect(), head, body, moved)

    async def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            _, connection = self._idle.pop()
            await connection.close()

    async def _over(
        self, connection: "Connection", head: bytes, body: Sequence[Buffer], moved: Callable[[], None]
    ) -> Answer:
        moved()
        answer = await connection.exchange(_pieces(head, body), moved)
        if connection.is_open:
            self._keep(connection)
        return answer

    def _rested(self) -> "Connection | None":
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_open and now - since < KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        return connection

    def _keep(self, connection: "Connection") -> None:
        self._idle.append((asyncio.get_running_loop().time(), connection))
        if len(self._idle) > MOST_IDLE:
            _, oldest = self._idle.pop(0)
            oldest.abort()


class Connection(asyncio.BufferedProtocol):
    """One connection. It is watched while it rests: what comes unasked, a proxy's 408 or the end, closes it."""

    def __init__(self) -> None:
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._space = memoryview(bytearray(RECEIVED_BYTES))
        self._received = bytearray()
        self._answered: asyncio.Future[Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def exchange(self, pieces: Iterator[Buffer], moved: Callable[[], None]) -> Answer:
        """Send what there is of a request and give its answer; raises OSError. Unless all went well, it is closed."""
        self._answered = self._loop.create_future()
        try:
            is_sent = await self._send(pieces, self._answered, moved)
            answer = await self._answered
        except BaseException:
            self.abort()
            raise
        self._answered = None
        if not (is_sent and answer.is_kept):
            self.abort()
        return answer

    async def close(self) -> None:
        """Close, and return when it is closed."""
        self.is_open = False
        self._transport.close()
        await self._lost

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self._answered = None
        self._transport.abort()

    async def _send(
        self, pieces: Iterator[Buffer], answered: "asyncio.Future[Answer]", moved: Callable[[], None]
    ) -> bool:
        """Send the pieces; False when an answer, or the other side's closing, came first."""
        for piece in pieces:
            self._transport.write(piece)
            if self._writable is not None:
                await self._writable
            if answered.done():
                return False
            moved()
        return True

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Have the sender wait."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        del sizehint
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        """Take a part of an answer."""
        if self._answered is None or self._answered.done():
            self.abort()
            return
        self._received += self._space[:nbytes]
        try:
            answer = _answer(self._received)
        except ConnectionError as error:
            self._end(self._answered, error)
            return
        if answer is not None:
            self._received.clear()
            self._answered.set_result(answer)
            # The rest of the body is not waited for.
            self.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits."""
        self.is_open = False
        if self._answered is not None and not self._answered.done():
            self._end(self._answered, exc if isinstance(exc, OSError) else ConnectionResetError("no answer"))
        self._lost.set_result(None)

    def _end(self, answered: "asyncio.Future[Answer]", error: OSError) -> None:
        answered.set_exception(error)
        self.resume_writing()


def _pieces(head: bytes, body: Sequence[Buffer]) -> Iterator[Buffer]:
    """Cut what is sent so that a socket takes each piece at once; what is small goes out together."""
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


def _answer(received: bytearray) -> Answer | None:
    """Read an answer; None when it is not complete. Raises ConnectionError when it never will be one."""
    end = received.find(END_OF_HEAD)
    if end < 0:
        if len(received) > MOST_ANSWER_BYTES:
            raise ConnectionError("an answer without end")
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    _, _, said = first.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        length, status = int(headers.get("content-length", -1)), int(said[:3])
    except ValueError as error:
        raise ConnectionError("an answer that is no HTTP") from error
    is_kept = 0 <= length <= MOST_ANSWER_BYTES and headers.get("connection", "").lower() != "close"
    rest = len(received) - end - len(END_OF_HEAD) - length
    if is_kept and rest < 0:
        return None
    return Answer(status, headers, is_kept and rest == 0)
