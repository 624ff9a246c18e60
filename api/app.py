"""The read API as one ASGI application: its routes, and for every request its principal, its metrics and its errors."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import health
from api.dicomweb import qido, rendered, thumbnail, wado
from api.dicomweb.frames import frames
from api.dicomweb.pixel_data import bulk_or_pixels
from api.http.problems import answer, problem_of
from api.overview import READ, Resource, overview
from api.services import Services
from api.v1.history import history
from api.v1.policies import policies, policy, study_decisions
from operators.access.principal import authorize
from operators.errors import Unavailable
from operators.http.address import ROOT, service_address
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem
from operators.retrieval.reading import ArchiveReader
from schemas.telemetry import API_REQUESTS, API_SECONDS

Endpoint = Callable[[Request], Awaitable[Response]]

STUDY = f"{ROOT}/studies/{{study}}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"

# PS3.18 tables 10.6.1-1 and 10.4.1-1; each path with its handler, and what is there in words.
DICOMWEB: tuple[tuple[str, Endpoint, str], ...] = (
    (f"{ROOT}/studies", qido.search("study"), "search for studies (QIDO-RS)"),
    (f"{ROOT}/series", qido.search("series"), "search for series (QIDO-RS)"),
    (f"{ROOT}/instances", qido.search("instance"), "search for instances (QIDO-RS)"),
    (f"{STUDY}/series", qido.search("series"), "search for the study's series"),
    (f"{STUDY}/instances", qido.search("instance"), "search for the study's instances"),
    (f"{SERIES}/instances", qido.search("instance"), "search for the series' instances"),
    (STUDY, wado.retrieve, "the study's instances as stored (WADO-RS)"),
    (SERIES, wado.retrieve, "the series' instances as stored"),
    (INSTANCE, wado.retrieve, "the instance as stored"),
    *((f"{resource}/metadata", wado.metadata, "headers in DICOM JSON") for resource in (STUDY, SERIES, INSTANCE)),
    (f"{INSTANCE}/frames/{{frames}}", frames, "frames as stored, such as 1,2,3"),
    *((f"{resource}/rendered", rendered.rendered, "pictures") for resource in (STUDY, SERIES, INSTANCE)),
    (f"{INSTANCE}/frames/{{frames}}/rendered", rendered.rendered_frames, "pictures of these frames"),
    *((f"{resource}/thumbnail", thumbnail.thumbnail, "a small picture") for resource in (STUDY, SERIES, INSTANCE)),
    (f"{INSTANCE}/frames/{{frames}}/thumbnail", thumbnail.thumbnail, "a small picture of the frame"),
    (f"{INSTANCE}/bulkdata/{{path:path}}", bulk_or_pixels, "a value to which metadata leads"),
)
READABLE = tuple(
    Resource(path.removeprefix(ROOT).replace("{path:path}", "{path}"), READ, what) for path, _, what in DICOMWEB
)
SERVICE = overview(READABLE)
FIRST = tuple(resource.path for resource in READABLE[:4])
# What is answered beside DICOM's services; commands, below the same address, are answered by the gateway's door.
V1: tuple[tuple[str, Endpoint], ...] = (
    ("/v1/studies/{study}/history", history),
    ("/v1/studies/{study}/decisions", study_decisions),
    ("/v1/policies", policies),
    ("/v1/policies/{kind}/{name}", policy),
)
# Anyone may send these requests: the answers have no patient data.
OPEN: tuple[tuple[str, Endpoint], ...] = (
    ("/healthz", health.healthz),
    ("/livez", health.healthz),
    ("/readyz", health.readyz),
    ("/metrics", health.metrics),
)
OPEN_PATHS = frozenset(path for path, _ in OPEN)

# Keeps browsers from taking DICOM for a web page.
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# The headers of an answer that has none of the name. No cache may keep an answer without a tag: it may be patient data.
# No answer is a page of this origin: opened in a window it runs nothing, loads nothing but itself, and has no origin.
DEFAULTS = (
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox",
    ),
)

# The size of the pieces in which a body in memory is sent.
PIECE_BYTES = 2**20

log = structlog.get_logger()


def create_app(services: Services, lifespan: Any = None) -> "Application":
    """Return the application on these services; `lifespan` opens and closes connections, as Starlette calls it."""
    places = [*OPEN, *V1, *((path, SERVICE) for path in (ROOT, f"{ROOT}/")), *((each[0], each[1]) for each in DICOMWEB)]
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in places]
    router = Router(routes, redirect_slashes=False, default=_no_route, lifespan=lifespan)
    return Application(router, services)


async def _no_route(scope: Scope, _receive: Receive, _send: Send) -> None:
    if scope["path"].startswith("/v1/"):
        raise HTTPException(404, f"this address has no resource: see {', '.join(path for path, _ in V1)}")
    if not scope["path"].startswith(f"{ROOT}/"):
        raise HTTPException(404, f"this address has no resource: the service is at {ROOT}")
    is_slash = scope["path"].endswith("/")
    advice = "leave out the slash at its end, or see" if is_slash else "see"
    raise HTTPException(404, f"this address has no resource: {advice} {ROOT}, which lists {', '.join(FIRST)} and more")


class Application:
    """The entrance to all routes: it finds the principal, measures the request, and answers errors."""

    def __init__(self, router: ASGIApp, services: Services) -> None:
        self._router = router
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; an exception leaves this only to break off a response that has begun."""
        if scope["type"] != "http":
            await self._run_lifespan(scope, receive, send)
            return
        response = _OutgoingResponse(send, self._services.settings.no_progress_s, is_head=scope["method"] == "HEAD")
        held = ExitStack()
        scope.update(services=self._services, app=self, held=held)
        began = time.perf_counter()
        try:
            await self._route(scope, receive, response.send)
        except Exception as error:  # noqa: BLE001 - the edge: each error becomes an answer, or breaks one off
            await self._answer_error(scope, receive, response, error)
        finally:
            held.close()
            API_REQUESTS.labels(_route_of(scope), response.status).inc()
            API_SECONDS.labels(_route_of(scope)).observe(time.perf_counter() - began)

    def close(self) -> None:
        """Stop the renderer, which belongs to this application."""
        self._services.renderer.close()

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._router(scope, receive, send)
        finally:
            self.close()

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in OPEN_PATHS:
            services = self._services
            principal = principal_of(RequestHead.of(scope), services.settings.tenant)
            authorize(principal, "read", scope["path"])
            scope["reader"] = ArchiveReader(principal, services.queries, services.objects)
            scope["base"] = service_address(scope, services.settings.public_url)
        await self._router(scope, receive, send)

    async def _answer_error(
        self, scope: Scope, receive: Receive, response: "_OutgoingResponse", error: Exception
    ) -> None:
        problem = problem_of(error)
        if problem.status >= 500:  # noqa: PLR2004 - HTTP's server errors
            # Not the exception's text or the path: they may contain patient data.
            why = {"why": error.why} if isinstance(error, Unavailable) else {}
            log.error("request_failed", reason=problem.reason, route=_route_of(scope), kind=type(error).__name__, **why)
        if response.status:
            raise error
        await answer(problem, scope["path"])(scope, receive, response.send)


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("endpoint"), "__name__", "none")


class _OutgoingResponse:
    """A response being sent: its status, and a time limit for the client to take each piece of it."""

    def __init__(self, send: Send, no_progress_s: float, *, is_head: bool) -> None:
        self._send = send
        self._is_head = is_head
        self._no_progress_s = no_progress_s
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send an ASGI message; raises Problem (408) when the client takes nothing for `no_progress_s`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), NO_SNIFFING]
            named = {name for name, _ in headers}
            message["headers"] = [*headers, *(header for header in DEFAULTS if header[0] not in named)]
            await self._send(message)
        elif self._is_head:
            await self._send({"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)})
        else:
            await self._send_body(message.get("body", b""), more_body=message.get("more_body", False))

    async def _send_body(self, body: bytes, *, more_body: bool) -> None:
        """Send a body in pieces, so that a slow client still makes progress."""
        for start in range(0, max(len(body), 1), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            is_more = more_body or start + PIECE_BYTES < len(body)
            try:
                async with asyncio.timeout(self._no_progress_s):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": is_more})
            except TimeoutError:
                raise Problem(408, "client-too-slow", "read the answer while it is being sent") from None
