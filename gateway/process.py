"""One gateway process: an event loop that accepts connections from a shared socket until a signal stops it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import structlog

from gateway.dimse.admission import Admission, AdmissionLimits, AssociationCounts
from gateway.dimse.door import Door
from gateway.dimse.listener import Listener
from gateway.dimse.peers import Peers, PeersFile
from gateway.dimse.tls import tls_context
from gateway.intake.lifespan import STOP_S, Intake
from operators.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from operators.dimse.negotiation import Terms
from operators.tasks import report_unhandled
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError
from schemas.telemetry import GATEWAY_PEERS, GATEWAY_PEERS_READ

PEERS_CHECK_S = 1.0

log = structlog.get_logger()


async def serve(
    listening: socket.socket,
    settings: DimseSettings,
    intake: AbstractAsyncContextManager[Intake],
    ready: Callable[[], None],
    counts: AssociationCounts,
) -> None:
    """Serve until SIGTERM or SIGINT, then allow the instances that are being stored STOP_S seconds to finish."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(_number: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    # Not the loop's own handlers: the loop removes them when it ends, and then a second signal would kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    loop.set_exception_handler(report_unhandled)
    async with open_door(listening, settings, intake, counts):
        ready()
        await stopping.wait()


@contextlib.asynccontextmanager
async def open_door(
    listening: socket.socket,
    settings: DimseSettings,
    intake: AbstractAsyncContextManager[Intake],
    counts: AssociationCounts | None = None,
) -> AsyncIterator[Door]:
    """Accept connections, and store the instances that they send through the intake, until the context is left.

    Starts even if store and broker do not answer. All processes of a gateway share `counts`. Raises SettingsError if
    the peers file or a certificate cannot be used.
    """
    file, tls = PeersFile(settings), tls_context(settings)
    admission = Admission(_admission_limits(settings), counts or AssociationCounts())
    peers = file.load()
    GATEWAY_PEERS.set(len(peers.peers))
    async with intake as entered:
        door = Door(settings, _terms(settings), entered, admission, peers)
        listener = Listener(listening, door, tls)
        async with entered.background.running({"peers_reading": partial(_reread, file, door)}):
            listener.start()
            try:
                yield door
            finally:
                listener.stop()
                await door.close(STOP_S)


def _admission_limits(settings: DimseSettings) -> AdmissionLimits:
    return AdmissionLimits(
        settings.associations, settings.associations_per_address, settings.yield_s, settings.processes
    )


async def _reread(file: PeersFile, door: Door) -> None:
    """Put the peers file in force whenever it changes; a file with mistakes changes nothing and is logged once."""
    while True:
        await asyncio.sleep(PEERS_CHECK_S)
        try:
            if file.has_changed():
                _put_in_force(file.load(), door)
        except Exception as error:  # noqa: BLE001 - any error of one file: the next may be right
            is_mistake = isinstance(error, SettingsError)
            problems = str(error).splitlines() if is_mistake else [type(error).__name__]
            GATEWAY_PEERS_READ.labels("refused").inc()
            log.error("peers_refused", problems=problems)  # noqa: TRY400 - the lines are enough


def _put_in_force(peers: Peers, door: Door) -> None:
    door.peers = peers
    GATEWAY_PEERS_READ.labels("in-force").inc()
    GATEWAY_PEERS.set(len(peers.peers))
    log.info("peers_changed", peers=len(peers.peers))


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
