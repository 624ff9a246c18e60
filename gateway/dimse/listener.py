"""Accepts connections from the listening socket that all processes of a gateway share."""

import asyncio
import ipaddress
import socket
import ssl
from functools import partial

import structlog

from gateway.dimse.admission import ConnectionSource
from gateway.dimse.connection import DimseConnection
from gateway.dimse.door import Door
from gateway.dimse.peers import address_of
from operators.tasks import supervised

ACCEPT_RETRY_S = 0.1

log = structlog.get_logger()


class Listener:
    """Accepts one connection in each turn of the event loop.

    asyncio's own server accepts all waiting connections at once, so that one process could get them all.
    """

    def __init__(self, listening: socket.socket, door: Door, tls: ssl.SSLContext | None) -> None:
        self._listening = listening
        self._door = door
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        # Begins to accept again after an error; None while connections are accepted.
        self._pause: asyncio.TimerHandle | None = None
        self._balancers = [ipaddress.ip_network(text) for text in door.settings.balancers.split(",") if text]

    def start(self) -> None:
        """Accept connections from now on."""
        self._listening.setblocking(False)
        self._resume()

    def stop(self) -> None:
        """Accept no more connections, and end those whose TLS handshake is not done."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        for task in self._connecting:
            task.cancel()

    def _accept_next(self) -> None:
        try:
            accepted, address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            # Another process accepted the connection, or the peer closed it.
            return
        except OSError as error:
            # Most likely there is no free descriptor: trying again at once would only keep the loop busy.
            log.warning("accept_failed", errno=error.errno)
            self._loop.remove_reader(self._listening)
            self._resume_later()
            return
        connection = DimseConnection(self._door, self._source(address[0]))
        if reason := self._door.admission.add_connection(connection):
            connection.refuse(reason)
            accepted.close()
        else:
            self._begin(accepted, connection)

    def _resume_later(self) -> None:
        self._pause = self._loop.call_later(ACCEPT_RETRY_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        try:
            self._loop.add_reader(self._listening, self._accept_next)
        except OSError as error:
            # The kernel has no memory for it now. Without another try the process would never accept again.
            log.warning("accept_failed", errno=error.errno)
            self._resume_later()

    def _source(self, text: str) -> ConnectionSource:
        address = address_of(text)
        is_shared = any(address in network for network in self._balancers)
        return ConnectionSource(address, self._door.peers.has_address(address), is_shared=is_shared)

    def _begin(self, accepted: socket.socket, connection: DimseConnection) -> None:
        task = supervised("connecting", self._connect(accepted, connection))
        connection.connecting = task
        self._connecting.add(task)
        task.add_done_callback(partial(self._connected, accepted, connection))

    def _connected(self, accepted: socket.socket, connection: DimseConnection, task: "asyncio.Task[None]") -> None:
        """Free the place of a connection whose task was cancelled before it began, or failed in a way of its own."""
        self._connecting.discard(task)
        if task.cancelled() or task.exception():
            connection.refuse("gave-way" if task.cancelled() else "internal")
            # A transport that was made for it no longer watches it; a second close does nothing.
            accepted.close()

    async def _connect(self, accepted: socket.socket, connection: DimseConnection) -> None:
        """Connect the socket to its protocol object; a TLS handshake that fails or takes too long ends both.

        The place is freed in the same turn: the next connection might be dropped for a place that is about to be free.
        """
        settings = self._door.settings
        accepted.setblocking(False)
        limits = {"ssl_handshake_timeout": settings.associate_s, "ssl_shutdown_timeout": settings.silence_s}
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, **(limits if self._tls else {})
            )
        except asyncio.CancelledError:
            connection.refuse("gave-way")
        except OSError:
            connection.refuse("handshake")
