"""HTTP/1.1 requests with large bodies over asyncio's streams: what a PUT needs and nothing else.

aiohttp takes twice the CPU for it (0.9 ms against 0.45 for 529 KB, both with signature, on the same busy machine).
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

Buffer = bytes | bytearray | memoryview
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK_BYTES = 1024 * 1024
SMALL_BYTES = 16 * 1024
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

    async def exchange(self, head: bytes, body: Iterable[Buffer], moved: Callable[[], None]) -> Answer:
        """Send a request and give its answer; `moved` is called whenever there was progress.

        An answer that comes before the body was sent ends the sending: a store refuses a key that is there at once.
        Raises OSError and EOFError, and leaves time limits to the caller.
        """
        connection = await self._connection()
        moved()
        reader, writer = connection
        answering = asyncio.ensure_future(_answer(reader))
        try:
            is_sent = await _send(writer, head, body, answering, moved)
            answer = await answering
        except BaseException:
            _forget(answering)
            writer.transport.abort()
            raise
        if is_sent and answer.is_kept:
            self._keep(connection)
        else:
            writer.transport.abort()
        return answer

    async def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            _, (_, writer) = self._idle.pop()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _connection(self) -> Connection:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            if now - since < KEEP_ALIVE_S and not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MOST_ANSWER_BYTES)

    def _keep(self, connection: Connection) -> None:
        self._idle.append((asyncio.get_running_loop().time(), connection))
        if len(self._idle) > MOST_IDLE:
            _, (_, writer) = self._idle.pop(0)
            writer.transport.abort()


async def _send(
    writer: asyncio.StreamWriter,
    head: bytes,
    body: Iterable[Buffer],
    answering: "asyncio.Future[Answer]",
    moved: Callable[[], None],
) -> bool:
    """Send head and body; False when an answer, or the other side's closing, came first."""
    try:
        for piece in _pieces(head, body):
            writer.write(piece)
            await writer.drain()
            if answering.done():
                return False
            moved()
    except ConnectionError:
        # Perhaps it answered before it closed: the answer says.
        return False
    return True


def _pieces(head: bytes, body: Iterable[Buffer]) -> Iterator[Buffer]:
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
    yield small


async def _answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(END_OF_HEAD)
    except asyncio.LimitOverrunError as error:
        raise ConnectionError("an answer without end") from error
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    _, _, said = first.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        length, status = int(headers.get("content-length", -1)), int(said[:3])
    except ValueError as error:
        raise ConnectionError("an answer that is no HTTP") from error
    is_kept = 0 <= length <= MOST_ANSWER_BYTES and headers.get("connection", "").lower() != "close"
    if is_kept and length:
        await reader.readexactly(length)
    return Answer(status, headers, is_kept)


def _forget(answering: "asyncio.Future[Answer]") -> None:
    if not answering.cancel() and not answering.cancelled():
        # Its failure is the caller's already.
        answering.exception()
