"""The REST door of commands: an ASGI application for POST /v1/studies/{uid}/commands, beside STOW-RS on the web origin.

Who may store over STOW-RS may command here, by the same rules; an answer that is an error is application/problem+json.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import uuid4

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from gateway.commands.answer import answer
from gateway.commands.body import BODY_BYTES, expect_json, request_in
from gateway.commands.giving import Commands, GivenCommand
from gateway.commands.request import CommandRequest
from gateway.stow.body import ClientGone, RequestBody
from operators.access.principal import NotAllowed, authorize
from operators.errors import RETRY_AFTER, Rejected, Unavailable
from operators.http.media_types import JSON, PROBLEM_JSON
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem, forbidden
from schemas.settings.web import StowSettings

PATH = re.compile(r"/v1/studies/([^/]+)/commands")
ALLOW = {"Allow": "OPTIONS, POST"}
# A browser must never show an answer as a page.
SAFETY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
SEND_AGAIN = "a server does not answer, and perhaps the command is stored already: send it again with the id {}"

log = structlog.get_logger()


def is_for_commands(method: str, path: str) -> bool:
    """True if this door answers the request: any method but GET and HEAD at the address of a study's commands."""
    return method not in ("GET", "HEAD") and PATH.fullmatch(path) is not None


@dataclass(frozen=True)
class DoorResponse:
    """A response; it closes the connection when the request was perhaps not read to its end."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False


class CommandDoor:
    """The door of one process, and its open requests: their pace is limited as that of store requests is."""

    def __init__(self, commands: Commands, settings: StowSettings, tenant: str) -> None:
        self._commands = commands
        self._settings = replace(settings, request_bytes=BODY_BYTES)
        self._tenant = tenant
        self._requests: dict[asyncio.Task[Any], RequestBody] = {}
        self._is_closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            response = await self._response(scope, receive, task)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - each has its answer
            response = _refusal(_problem_of(error))
        finally:
            self._requests.pop(task, None)
        await _send(send, response)

    async def close(self, within_s: float) -> None:
        """Accept no more requests; break off the bodies that have not come after `within_s`, and wait until all have ended."""
        self._is_closing = True
        if self._requests:
            _, late = await asyncio.wait(self._requests, timeout=within_s)
            for body in self._requests.values():
                body.break_off(_closing)
            await asyncio.gather(*late, return_exceptions=True)

    async def _response(self, scope: Scope, receive: Receive, task: "asyncio.Task[Any]") -> DoorResponse:
        head = RequestHead.of(scope)
        principal = principal_of(head, self._tenant)
        if scope["method"] == "OPTIONS":
            return DoorResponse(204, ALLOW)
        if scope["method"] != "POST":
            raise Problem(405, "method", "commands are sent by POST", ALLOW)
        authorize(principal, "command", scope["path"])
        expect_json(head)
        self._admit()
        self._requests[task] = body = RequestBody(receive, self._settings, head.length)
        request = request_in(await _whole(body), _study_in(scope["path"]), principal)
        given = await self._given(request)
        return DoorResponse(200 if given.is_repeat else 201, {"Content-Type": JSON}, orjson.dumps(answer(given)))

    async def _given(self, request: CommandRequest) -> GivenCommand:
        """Carry out a request, which has an id before anything is stored, so that its answer can name it."""
        request = replace(request, command_id=request.command_id or str(uuid4()))
        try:
            return await self._commands.give(request)
        except Unavailable as error:
            advice = SEND_AGAIN.format(request.command_id)
            raise Problem(503, f"{error.what}-unavailable", advice, RETRY_AFTER) from error

    def _admit(self) -> None:
        if self._is_closing:
            raise _closing()
        if len(self._requests) >= self._settings.requests:
            raise Problem(
                503, "too-many-requests", "too many commands are being carried out: try again soon", RETRY_AFTER
            )


async def _whole(body: RequestBody) -> bytes:
    chunks = []
    while chunk := await body.chunk():
        chunks.append(chunk)
    return b"".join(chunks)


def _study_in(path: str) -> str:
    found = PATH.fullmatch(path)
    return found[1] if found else ""


def _closing() -> Problem:
    return Problem(503, "closing", "the archive restarts: try again soon", RETRY_AFTER)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case NotAllowed():
            return forbidden(error)
        case Rejected():
            return Problem(400, error.reason, "the body is not as long as its Content-Length")
    log.error("command_failed", exc_info=error)
    return Problem(500, "unexpected", "this is an error of the server: see its log")


def _refusal(error: Problem) -> DoorResponse:
    log.warning("command_refused", reason=error.reason, status=error.status)
    return DoorResponse(error.status, {**error.headers, "Content-Type": PROBLEM_JSON}, error.details, closes=True)


async def _send(send: Send, response: DoorResponse) -> None:
    headers = {**response.headers, **SAFETY, "Content-Length": str(len(response.body))}
    headers |= {"Connection": "close"} if response.closes else {}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})
