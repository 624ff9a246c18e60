"""One gateway process: an event loop that takes connections from a shared socket until it is told to stop."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import structlog

from gateway.dimse.admission import Admission, Bounds, Tally, Visitor
from gateway.dimse.association import Association, Door
from gateway.dimse.peers import Peers, PeersFile, address_of
from gateway.dimse.tls import context_of
from gateway.intake.lifespan import STOP_S, Intake
from operators.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from operators.dimse.negotiation import Terms
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError
from schemas.telemetry import GATEWAY_PEERS, GATEWAY_PEERS_READ

ACCEPT_AGAIN_S = 0.1
PEERS_AGAIN_S = 1.0

log = structlog.get_logger()


async def serve(
    listening: socket.socket,
    settings: DimseSettings,
    intake: AbstractAsyncContextManager[Intake],
    ready: Callable[[], None],
    tally: Tally,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being stored, bounded."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(_number: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    # Not the loop's own handlers: they go when it ends, and a signal that comes twice would kill what has all but ended.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    async with opened(listening, settings, intake, tally):
        ready()
        await stopping.wait()


@contextlib.asynccontextmanager
async def opened(
    listening: socket.socket,
    settings: DimseSettings,
    intake: AbstractAsyncContextManager[Intake],
    tally: Tally | None = None,
) -> AsyncIterator[Door]:
    """Take connections, and store what they send through the intake, while this is entered.

    Starts whether or not store and broker answer. The tally is what the gateway's processes share. Raises SettingsError for peers or certificates that cannot be.
    """
    file, context = PeersFile(settings), context_of(settings)
    admission = Admission(_bounds(settings), tally or Tally())
    peers = file.load()
    GATEWAY_PEERS.set(len(peers.peers))
    async with intake as inside:
        door = Door(settings, _terms(settings), inside, admission, peers)
        rereading = asyncio.create_task(_reread(file, door))
        try:
            with _accepting(listening, door, context):
                yield door
        finally:
            rereading.cancel()
            await door.close(STOP_S)


def _bounds(settings: DimseSettings) -> Bounds:
    return Bounds(settings.associations, settings.associations_per_address, settings.yield_s, settings.processes)


async def _reread(file: PeersFile, door: Door) -> None:
    """Put a changed file in force; one that cannot be changes nothing, and is said once."""
    while True:
        await asyncio.sleep(PEERS_AGAIN_S)
        try:
            if file.has_changed():
                _put_in_force(file.load(), door)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one file, the next one counts
            is_foreseen = isinstance(error, SettingsError)
            problems = str(error).splitlines() if is_foreseen else [type(error).__name__]
            GATEWAY_PEERS_READ.labels("refused").inc()
            log.error("peers_refused", problems=problems)  # noqa: TRY400 - its lines say all


def _put_in_force(peers: Peers, door: Door) -> None:
    door.peers = peers
    GATEWAY_PEERS_READ.labels("in-force").inc()
    GATEWAY_PEERS.set(len(peers.peers))
    log.info("peers_in_force", peers=len(peers.peers))


def _terms(settings: DimseSettings) -> Terms:
    return Terms(
        pdu_bytes=settings.max_pdu_bytes,
        most_contexts=settings.contexts,
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
        most_transfer_syntaxes=settings.transfer_syntaxes,
        unknown_syntaxes=settings.unknown_syntaxes,
        user_information_bytes=settings.user_information_bytes,
    )


@contextlib.contextmanager
def _accepting(listening: socket.socket, door: Door, context: ssl.SSLContext | None) -> Iterator[None]:
    """Take one connection a turn: asyncio's own server takes all that wait, and one process would have them all."""
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    begun: set[asyncio.Task[object]] = set()
    balancers = [ipaddress.ip_network(one) for one in door.settings.balancers.split(",") if one]

    def take() -> None:
        try:
            connection, source = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            # Another process was faster, or the peer went away.
            return
        except OSError as error:
            # Out of descriptors, most likely: asking again at once would only keep the loop busy.
            log.warning("accept_refused", errno=error.errno)
            loop.remove_reader(listening)
            loop.call_later(ACCEPT_AGAIN_S, loop.add_reader, listening, take)
            return
        address = address_of(source[0])
        is_shared = any(address in network for network in balancers)
        association = Association(door, Visitor(address, door.peers.knows(address), is_shared=is_shared))
        if reason := door.admission.enter(association):
            association.turned_away(reason)
            connection.close()
            return
        task = loop.create_task(_connect(connection, association, context))
        association.entering = task
        begun.add(task)
        task.add_done_callback(begun.discard)

    loop.add_reader(listening, take)
    try:
        yield
    finally:
        loop.remove_reader(listening)
        for task in begun:
            task.cancel()


async def _connect(connection: socket.socket, association: Association, context: ssl.SSLContext | None) -> None:
    """Return the connection to its association; a handshake that fails, or lasts too long, ends both."""
    settings, loop = association.settings, asyncio.get_running_loop()
    connection.setblocking(False)
    limits = {"ssl_handshake_timeout": settings.associate_s, "ssl_shutdown_timeout": settings.silence_s}
    try:
        await loop.connect_accepted_socket(lambda: association, connection, ssl=context, **(limits if context else {}))
    except (OSError, asyncio.CancelledError) as error:
        association.turned_away("gave-way" if isinstance(error, asyncio.CancelledError) else "handshake")
