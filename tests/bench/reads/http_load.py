"""Two loads of GET requests: clients that ask one after the other, and requests that come at a steady rate.

The second is what a client sees who does not wait for others: a request's time begins when it was due, not when a
connection was free for it.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BUFFER = 1 << 22
NO_CONTENT = "204"
# A search without a match has no content (PS3.18 8.3.4.4).
OK = ("200", NO_CONTENT)


class WrongAnswer(RuntimeError):
    """A request was not answered with success."""


@dataclass
class Answers:
    """The seconds of each answer, the bytes of all bodies, and how long the load took."""

    times_s: list[float] = field(default_factory=list)
    size_bytes: int = 0
    seconds: float = 0.0

    def add(self, size_bytes: int, seconds: float) -> None:
        """Add one answer."""
        self.size_bytes += size_bytes
        self.times_s.append(seconds)


@dataclass(frozen=True)
class Target:
    """An origin such as http://127.0.0.1:8060, paths to ask for in turns, and what to accept."""

    origin: str
    paths: Sequence[str]
    accept: str

    def requests(self, start: int) -> Iterator[bytes]:
        """Yield the requests without end, from one of the paths on."""
        host = urlsplit(self.origin).netloc
        number = start
        while True:
            path = self.paths[number % len(self.paths)]
            yield f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {self.accept}\r\n\r\n".encode()
            number += 1


class Client:
    """A client that sends one request after the other, over one connection if the server keeps it open."""

    def __init__(self, target: Target) -> None:
        self._place = urlsplit(target.origin)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, request: bytes) -> int:
        """Send a request, read the answer; return the size of its body; raises WrongAnswer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._place.hostname, self._place.port, limit=BUFFER)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = head.split(" ", 2)[1]
        if status not in OK:
            raise WrongAnswer(f"{request.decode().split()[1]}: {status}")
        size_bytes = await body(reader, head) if status != NO_CONTENT else 0
        if reader.at_eof() or "connection: close" in head:
            self.close()
        return size_bytes

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def body(reader: asyncio.StreamReader, head: str) -> int:
    """Read a response's body, whose end its head tells (RFC 9112 6.3); return its size in bytes."""
    if "content-length: " in head:
        return await _read(reader, int(head.split("content-length: ")[1].split("\r\n", maxsplit=1)[0]))
    if "transfer-encoding: chunked" in head:
        return await _read_chunks(reader)
    return await _read(reader, sys.maxsize)


async def _read_chunks(reader: asyncio.StreamReader) -> int:
    size = 0
    while length := int(await reader.readline(), 16):
        await reader.readexactly(length + 2)
        size += length
    await reader.readline()
    return size


async def _read(reader: asyncio.StreamReader, most: int) -> int:
    """Read so many bytes, or all until the connection ends."""
    size = 0
    while size < most and (data := await reader.read(min(most - size, 1 << 20))):
        size += len(data)
    return size


def one_after_the_other(target: Target, clients: int, seconds: float) -> Answers:
    """Ask with so many clients at once, each one request after the other, for so long, and at least once."""
    return asyncio.run(_one_after_the_other(target, clients, seconds))


async def _one_after_the_other(target: Target, clients: int, seconds: float) -> Answers:
    answers, began = Answers(), time.perf_counter()
    await asyncio.gather(*(_ask(target, number, clients, answers, began + seconds) for number in range(clients)))
    answers.seconds = time.perf_counter() - began
    return answers


async def _ask(target: Target, number: int, clients: int, answers: Answers, until: float) -> None:
    # Each client begins elsewhere in the list, or all would ask for the same at the same time.
    requests = target.requests(number * len(target.paths) // clients)
    client = Client(target)
    try:
        is_over = False
        while not is_over:
            began = time.perf_counter()
            size_bytes = await client.get(next(requests))
            answers.add(size_bytes, time.perf_counter() - began)
            is_over = time.perf_counter() >= until
    finally:
        client.close()


def at_a_rate(target: Target, rate: float, clients: int, seconds: float) -> Answers:
    """Ask at a steady rate, with so many connections, for so long."""
    return asyncio.run(_at_a_rate(target, rate, clients, seconds))


async def _at_a_rate(target: Target, rate: float, clients: int, seconds: float) -> Answers:
    answers, began = Answers(), time.perf_counter()
    due = iter([began + number / rate for number in range(int(rate * seconds))])
    requests = target.requests(0)
    await asyncio.gather(*(_ask_when_due(target, due, requests, answers) for _ in range(clients)))
    answers.seconds = time.perf_counter() - began
    return answers


async def _ask_when_due(target: Target, due: Iterator[float], requests: Iterator[bytes], answers: Answers) -> None:
    client = Client(target)
    try:
        for moment in due:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            size_bytes = await client.get(next(requests))
            answers.add(size_bytes, time.perf_counter() - moment)
    finally:
        client.close()
