"""One gateway process: an event loop that takes connections from a shared socket until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import structlog

from gateway.association import Association, Door
from gateway.intake import STOP_S, Connectors, intake
from gateway.upper_layer import Terms
from operators.instance import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from schemas.settings import GatewaySettings

ACCEPT_AGAIN_S = 0.1

log = structlog.get_logger()


async def serve(
    listening: socket.socket, settings: GatewaySettings, connectors: Connectors, ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being stored, bounded."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with opened(listening, settings, connectors):
        ready()
        await stopping.wait()


@contextlib.asynccontextmanager
async def opened(listening: socket.socket, settings: GatewaySettings, connectors: Connectors) -> AsyncIterator[Door]:
    """Take connections while this is entered. Starts whether or not store and broker answer."""
    async with intake(settings, connectors) as inside:
        door = Door(settings, _terms(settings), inside)
        try:
            with _accepting(listening, door):
                yield door
        finally:
            await door.close(STOP_S)


def _terms(settings: GatewaySettings) -> Terms:
    return Terms(
        pdu_bytes=settings.max_pdu_bytes,
        most_contexts=settings.contexts,
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
        only_called=settings.only_called_ae,
    )


@contextlib.contextmanager
def _accepting(listening: socket.socket, door: Door) -> Iterator[None]:
    """Take one connection a turn: asyncio's own server takes all that wait, and one process would have them all."""
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    begun: set[asyncio.Task[object]] = set()

    def take() -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            # Another process was faster, or the peer went away.
            return
        except OSError as error:
            # Out of descriptors, most likely: asking again at once would only keep the loop busy.
            log.warning("accept_refused", errno=error.errno)
            loop.remove_reader(listening)
            loop.call_later(ACCEPT_AGAIN_S, loop.add_reader, listening, take)
            return
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(lambda: Association(door), connection))
        begun.add(task)
        task.add_done_callback(begun.discard)

    loop.add_reader(listening, take)
    try:
        yield
    finally:
        loop.remove_reader(listening)
