"""The listener goes on accepting after every error, until it is stopped, and holds no place of a connection that failed."""

import asyncio
import errno
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.dimse import listener as module
from gateway.dimse.door import Door
from tests.support.worlds.dimse import memory_door, settings, until

BOUND_S = 10.0
FLOOD = 40


class UnreliableSocket:
    """A listening socket whose next `accept` has no descriptor left."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.failures = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "no descriptor")
        return self.listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


@asynccontextmanager
async def second_listener(
    folder: Path, tls: ssl.SSLContext | None = None, **changes: Any
) -> AsyncIterator[tuple[UnreliableSocket, Door, module.Listener]]:
    """Yield a listener that is not started, the door behind it, and its socket."""
    async with memory_door(settings(folder).changed(**changes)) as (_, door):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            unreliable = UnreliableSocket(listening)
            listener = module.Listener(unreliable, door, tls)  # type: ignore[arg-type]
            try:
                yield unreliable, door, listener
            finally:
                listener.stop()


def failing_times(count: int, function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return the function, whose next calls raise an error."""
    left = [error] * count

    def called(*arguments: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return function(*arguments, **named)

    return called


async def caller(listening: UnreliableSocket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*listening.listening.getsockname())


def test_accepting_goes_on_after_errors_of_accept_and_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPT_RETRY_S", 0.001)

    async def accepted() -> int:
        async with second_listener(tmp_path) as (listening, door, listener), asyncio.timeout(BOUND_S):
            listener.start()
            loop = asyncio.get_running_loop()
            no_memory = OSError(errno.ENOMEM, "no memory")
            monkeypatch.setattr(loop, "add_reader", failing_times(2, loop.add_reader, no_memory))
            _, writer = await caller(listening)
            await until(lambda: door.connections)
            writer.transport.abort()
            return listening.failures

    assert asyncio.run(accepted()) == 0


def test_a_listener_that_is_stopped_while_it_pauses_stays_stopped(tmp_path: Path) -> None:
    async def is_cancelled() -> bool:
        async with second_listener(tmp_path) as (listening, _, listener), asyncio.timeout(BOUND_S):
            listener.start()
            _, writer = await caller(listening)
            await until(lambda: listener._pause)
            pause = listener._pause
            listener.stop()
            writer.transport.abort()
            return pause is not None and pause.cancelled()

    assert asyncio.run(is_cancelled())


def test_a_connection_that_fails_unexpectedly_gives_back_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read() -> bytes:
        async with second_listener(tmp_path) as (listening, door, listener), asyncio.timeout(BOUND_S):
            listening.failures = 0
            loop = asyncio.get_running_loop()
            failing = failing_times(1, loop.connect_accepted_socket, RuntimeError())
            monkeypatch.setattr(loop, "connect_accepted_socket", failing)
            listener.start()
            reader, writer = await caller(listening)
            closed = await reader.read()
            writer.transport.abort()
            await until(lambda: not door.admission.unassociated)
            return closed

    with capture_logs() as logs:
        assert asyncio.run(read()) == b""
    assert [entry["task"] for entry in logs if entry["event"] == "task_failed"] == ["connecting"]


def test_a_connection_whose_task_never_began_gives_back_its_place(tmp_path: Path) -> None:
    async def left() -> int:
        async with second_listener(tmp_path) as (listening, door, listener), asyncio.timeout(BOUND_S):
            listening.failures = 0
            listening.listening.setblocking(True)
            calling = asyncio.create_task(caller(listening))
            await until(lambda: select.select([listening.listening], [], [], 0)[0])
            listener._accept_next()
            listener.stop()
            (await calling)[1].transport.abort()
            await until(lambda: not door.admission.unassociated)
            return door.admission.unassociated

    assert asyncio.run(left()) == 0


def test_a_flood_without_handshakes_never_holds_more_places_than_there_are(tmp_path: Path) -> None:
    async def most() -> int:
        tls, counts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[int]()
        async with second_listener(tmp_path, tls, associations=1) as (listening, door, listener):
            listening.failures = 0
            with ExitStack() as kept:
                for _ in range(FLOOD):
                    kept.enter_context(socket.create_connection(listening.listening.getsockname()))
                listener.start()
                async with asyncio.timeout(BOUND_S):
                    while len(counts) < 2 * FLOOD:
                        await asyncio.sleep(0)
                        counts.append(door.admission.unassociated)
            assert door.admission.limits.unassociated < FLOOD
            return max(counts) - door.admission.limits.unassociated

    with capture_logs():
        assert asyncio.run(most()) <= 1
