"""A TCP proxy on loopback between clients and one server, which fails as it is told.

    with proxied(server_port) as proxy:
        proxy.fault = SILENT
        ...
        proxy.fault = WORKS

A new fault holds for open connections, too. It runs in a thread, so that blocking tests can use it.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from deploy.local.ports import free_row

PIECE_BYTES = 1 << 16
# SO_LINGER's switch and seconds. A client's connection is reset unless both sides have ended it.
RESET_ON_CLOSE, CLOSE_IN_ORDER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


@dataclass(frozen=True)
class Fault:
    """How connections fail."""

    # New connections are refused, since nobody listens; open ones are closed.
    refuses: bool = False
    # Connections are accepted and reset; open ones are reset.
    resets: bool = False
    # Nothing is passed on, in either direction; connections stay open. What was held back goes on after the fault.
    is_silent: bool = False
    # An answer begins so much later.
    delay_s: float = 0.0
    # How fast bytes are passed on in each direction.
    bytes_per_s: float = 0.0
    # After so many bytes of requests, or of answers, a connection is reset.
    request_bytes: int | None = None
    answer_bytes: int | None = None


WORKS, REFUSES, RESETS, SILENT = Fault(), Fault(refuses=True), Fault(resets=True), Fault(is_silent=True)
# The server carries the request out, and nobody hears of it.
APPLIES_THEN_CUTS = Fault(answer_bytes=0)


class Cut(ConnectionError):
    """The fault ends this connection."""


@dataclass(eq=False)
class Link:
    """A client's connection and the server's; `is_asked` from a request until its answer begins."""

    client: socket.socket
    server: socket.socket
    is_asked: bool = False


@dataclass
class Budget:
    """How many bytes one direction of a connection may still carry under the present fault."""

    fault: Fault | None = None
    bytes_left: int = 0

    def spend(self, fault: Fault, most: int | None, count: int) -> int:
        """Return how many of `count` bytes may be passed on, where a fault allows `most`; None is no limit."""
        if fault is not self.fault:
            self.fault, self.bytes_left = fault, most or 0
        allowed = count if most is None else min(count, self.bytes_left)
        self.bytes_left -= allowed
        return allowed


class FaultProxy:
    """A proxy that listens on `port` while its loop runs."""

    def __init__(self, server_port: int) -> None:
        self.port = free_row(())
        self._server_port = server_port
        self._fault = WORKS
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._listening: asyncio.Task[None] | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def fault(self) -> Fault:
        """Return the present fault."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        """Fail in this way from now on."""
        self.call(self._change(fault))

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the proxy's loop, and wait until it is done."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def run(self) -> None:
        """Run the loop until it is stopped."""
        self._loop.run_forever()
        self._loop.close()

    async def open(self) -> None:
        """Begin to listen."""
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        self._listening = self._loop.create_task(self._listen(listener))

    async def close(self) -> None:
        """Stop listening, and reset every connection."""
        await self._end([self._listening] if self._listening else [])
        self._listening = None
        await self._end([*self._links])

    def stop(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _change(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.refuses:
            await self.close()
        elif not self._listening:
            await self.open()
        if fault.resets:
            await self._end([*self._links])

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                task = self._loop.create_task(self._link(client))
                self._links.add(task)
                task.add_done_callback(self._links.discard)
                # A task that is cancelled before it begins closes nothing.
                task.add_done_callback(lambda _, client=client: client.close())  # type: ignore[misc]

    async def _link(self, client: socket.socket) -> None:
        """Pass on what client and server say until both have ended, or the fault ends it."""
        with closing(socket.socket()) as server:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            link = Link(client, server)
            with suppress(OSError):
                if self._fault.resets:
                    raise Cut
                await self._loop.sock_connect(server, ("127.0.0.1", self._server_port))
                await self._both(link)
                # Both have said all that they had to say.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_IN_ORDER)

    async def _both(self, link: Link) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(link))
                group.create_task(self._answers(link))
        except* OSError:
            raise Cut from None

    async def _requests(self, link: Link) -> None:
        """Pass on what the client says."""
        budget = Budget()
        while piece := await self._loop.sock_recv(link.client, PIECE_BYTES):
            await self._hold(len(piece))
            link.is_asked = True
            await self._pass(link.server, piece, budget.spend(self._fault, self._fault.request_bytes, len(piece)))
        link.server.shutdown(socket.SHUT_WR)

    async def _answers(self, link: Link) -> None:
        """Pass on what the server says."""
        budget = Budget()
        while piece := await self._loop.sock_recv(link.server, PIECE_BYTES):
            if link.is_asked:
                link.is_asked = False
                await self._pause(self._fault.delay_s)
            await self._hold(len(piece))
            await self._pass(link.client, piece, budget.spend(self._fault, self._fault.answer_bytes, len(piece)))
        link.client.shutdown(socket.SHUT_WR)

    async def _pass(self, sink: socket.socket, piece: bytes, allowed: int) -> None:
        """Pass on the allowed bytes of a piece; raises Cut where that is not all of it."""
        await self._loop.sock_sendall(sink, piece[:allowed])
        if allowed < len(piece):
            raise Cut

    async def _hold(self, count: int) -> None:
        """Keep a piece of so many bytes back as long as the fault says."""
        while self._fault.is_silent:
            await self._changed.wait()
        if self._fault.bytes_per_s:
            await self._pause(count / self._fault.bytes_per_s)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the fault changes."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)


@contextmanager
def proxied(server_port: int) -> Iterator[FaultProxy]:
    """Run a proxy before the server at this port of loopback for the block."""
    proxy = FaultProxy(server_port)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        proxy.call(proxy.open())
        yield proxy
    finally:
        proxy.call(proxy.close())
        proxy.stop()
        thread.join()
