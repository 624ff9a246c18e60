"""The REST door of calls that change something: an ASGI application beside STOW-RS on the web origin.

Who may store over STOW-RS may call here, by the same rules; an answer that is an error is application/problem+json.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from gateway.calls.body import expect_json, said_in
from gateway.calls.call import Call, CallMade
from gateway.stow.body import ClientGone, RequestBody
from operators.access.principal import NotAllowed, authorize
from operators.errors import RETRY_AFTER, Rejected
from operators.http.media_types import JSON, PROBLEM_JSON
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem, forbidden
from schemas.settings.web import StowSettings

# A browser must never show an answer as a page.
SAFETY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

log = structlog.get_logger()


@dataclass(frozen=True)
class DoorResponse:
    """A response; it closes the connection when the request was perhaps not read to its end."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False


class CallDoor:
    """The door of one process, and its open requests: their pace is limited as that of store requests is."""

    def __init__(self, calls: Sequence[Call], settings: StowSettings, tenant: str) -> None:
        self._calls = calls
        self._settings = settings
        self._tenant = tenant
        self._requests: dict[asyncio.Task[Any], RequestBody] = {}
        self._is_closing = False

    def is_for(self, method: str, path: str) -> bool:
        """True if this door answers the request: any method at the address of a call that the read API does not answer."""
        return any(call.path.fullmatch(path) and method not in call.answered_elsewhere for call in self._calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that is for this door."""
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
        call, place = self._at(scope["path"])
        allow = {"Allow": call.allowed}
        if scope["method"] == "OPTIONS":
            return DoorResponse(204, allow)
        if scope["method"] != call.method:
            raise Problem(405, "method", f"{call.what} is sent by {call.method}", allow)
        authorize(principal, "command", scope["path"])
        expect_json(head, call.most_bytes)
        self._admit()
        limits = replace(self._settings, request_bytes=call.most_bytes)
        self._requests[task] = body = RequestBody(receive, limits, head.length)
        answer = await call.carry_out(CallMade(principal, place, said_in(await _whole(body), call)))
        return DoorResponse(answer.status, {"Content-Type": JSON}, orjson.dumps(answer.values))

    def _at(self, path: str) -> tuple[Call, Mapping[str, str]]:
        """Return the call at an address, and the named parts of the address; raises LookupError if there is none."""
        found = ((call, call.path.fullmatch(path)) for call in self._calls)
        return next((call, match.groupdict()) for call, match in found if match)

    def _admit(self) -> None:
        if self._is_closing:
            raise _closing()
        if len(self._requests) >= self._settings.requests:
            raise Problem(503, "too-many-requests", "too many calls are being carried out: try again soon", RETRY_AFTER)


async def _whole(body: RequestBody) -> bytes:
    chunks = []
    while chunk := await body.chunk():
        chunks.append(chunk)
    return b"".join(chunks)


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
    log.error("call_failed", exc_info=error)
    return Problem(500, "unexpected", "this is an error of the server: see its log")


def _refusal(error: Problem) -> DoorResponse:
    log.warning("call_refused", reason=error.reason, status=error.status)
    return DoorResponse(error.status, {**error.headers, "Content-Type": PROBLEM_JSON}, error.details, closes=True)


async def _send(send: Send, response: DoorResponse) -> None:
    headers = {**response.headers, **SAFETY, "Content-Length": str(len(response.body))}
    headers |= {"Connection": "close"} if response.closes else {}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})
