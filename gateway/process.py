"""One gateway process: an event loop that takes connections from a shared socket until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway.accept import Acceptance, Inside, Rebuilding
from gateway.association import Association, Door
from gateway.outbox import Outbox, Outside, heal
from gateway.spool import Bounds, Room
from gateway.upper_layer import Terms
from operators.instance import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from operators.ports import EventLog, ObjectStore
from schemas.settings import GatewaySettings

STOP_S = 5.0
ACCEPT_AGAIN_S = 0.1

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """What a gateway is given of the outside."""

    store: ObjectStore
    events: EventLog


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
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    outside = Outside(
        events=connectors.events,
        rebuild=Rebuilding(connectors.store, settings.spool_dir),
        heal_s=settings.heal_s,
        clock=monotonic,
        sleep=asyncio.sleep,
    )
    outbox = Outbox.create(settings.outbox_dir, outside)
    tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(heal(settings.outbox_dir, outside))]
    for task in tasks:
        task.add_done_callback(_fail_loudly)
    door = _door(settings, connectors, outbox)
    try:
        with _accepting(listening, door):
            yield door
    finally:
        await door.close(STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(outbox.settle(), STOP_S)
        outbox.close()


def _door(settings: GatewaySettings, connectors: Connectors, outbox: Outbox) -> Door:
    room = Room(settings.memory_process_bytes)
    bounds = Bounds(settings.memory_instance_bytes, settings.instance_bytes, settings.spool_dir)
    acceptance = Acceptance(Inside(connectors.store, connectors.events, outbox, room, bounds))
    terms = Terms(
        pdu_bytes=settings.max_pdu_bytes,
        most_contexts=settings.contexts,
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
        only_called=settings.only_called_ae,
    )
    return Door(settings, terms, acceptance, outbox, room)


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


def _fail_loudly(task: "asyncio.Task[object]") -> None:
    """Nothing may end the outbox's work but its own cancelling: without it this process should not go on."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("outbox_failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
