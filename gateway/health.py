"""The web port of a gateway process: its metrics, its liveness and its readiness, open to everyone who reaches it.

    /metrics   the metrics in Prometheus' text format
    /livez     200 while the event loop takes turns
    /readyz    the state of each server and of failing background work; 503 unless all is well

The answers have no patient data. They are made in threads beside the event loop, which is asked for the states: a loop
that does not answer is neither alive nor ready.
"""

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson
import structlog
from prometheus_client import make_wsgi_app

from operators.errors import RETRY_AFTER
from operators.readiness import CHECK_S, is_ready
from schemas.telemetry import GATEWAY, registry_of

# Longer than a check of readiness takes at most.
LOOP_S = CHECK_S + 2
# How long a client may take to send its request.
REQUEST_S = 5.0
STOP_POLL_S = 0.05

States = Mapping[str, str]

log = structlog.get_logger()


@contextlib.contextmanager
def serve_health(host: str, port: int, readiness: Callable[[], Coroutine[Any, Any, States]]) -> Iterator[int]:
    """Answer during the block, and yield the port; the running loop is asked for `readiness`. Raises OSError."""
    server = (_ServerV6 if ":" in host else _Server)((host, port), _Handler)
    server.set_app(_application(Loop(asyncio.get_running_loop()), readiness))
    thread = threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class Loop:
    """An event loop that other threads ask for states."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def ask(self, question: Callable[[], Coroutine[Any, Any, States]]) -> States:
        """Return the loop's answer, or that the loop is away if it gives none within LOOP_S."""
        asked = asyncio.run_coroutine_threadsafe(question(), self._loop)
        try:
            return asked.result(LOOP_S)
        except TimeoutError:
            asked.cancel()
            return {"loop": "away"}


async def _alive() -> States:
    return {"status": "alive"}


def _application(loop: Loop, readiness: Callable[[], Coroutine[Any, Any, States]]) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry_of(GATEWAY))

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/livez":
                states = loop.ask(_alive)
                return _json(start_response, states, is_well="loop" not in states)
            case "/readyz":
                states = loop.ask(readiness)
                return _json(start_response, states, is_well=is_ready(states))
            case _:
                return metrics(environ, start_response)

    return application


def _json(start_response: StartResponse, states: States, *, is_well: bool) -> Iterable[bytes]:
    headers = {"Content-Type": "application/json"} | ({} if is_well else RETRY_AFTER)
    start_response("200 OK" if is_well else "503 Service Unavailable", list(headers.items()))
    return [orjson.dumps(states)]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, *_: object) -> None:
        """Log no request."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking name servers for the host's full name, as http.server does: the event loop would wait."""
        TCPServer.server_bind(self)
        host, port = self.socket.getsockname()[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def handle_error(self, *_: object) -> None:
        """Log that a request was not answered, most likely because its client went."""
        log.warning("health_request_failed", kind=type(sys.exception()).__name__)


class _ServerV6(_Server):
    address_family = socket.AF_INET6
