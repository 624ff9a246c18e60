"""The STOW-RS door (PS3.18 10.5): an ASGI application that stores the instances of a request while they arrive.

No request is held in memory as a whole. The response is sent after the last part is stored; a request that is refused
before its body is read is answered at once, and its connection is closed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, cast

import structlog
from starlette.types import Receive, Scope, Send

from gateway.intake.lifespan import Intake
from gateway.intake.status import BROKEN_OFF, Status
from gateway.intake.transfer import Sender, Transfer
from gateway.stow.body import ClientGone, RequestBody
from gateway.stow.delivery import Delivery, PartResult
from gateway.stow.multipart import MultipartLimits, PartBegun, PartEnded, Scanner
from gateway.stow.request import StoreRequest, study_in
from gateway.stow.response import encode, http_status, response_module
from gateway.stow.shown import ShownContents, ShownQuery
from operators.access.principal import NotAllowed, authorize
from operators.errors import RETRY_AFTER, Rejected
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem, forbidden
from operators.tasks import supervised
from schemas.settings.web import StowSettings
from schemas.telemetry import STOW_OPEN, STOW_REFUSED, STOW_REQUESTS

# A request with one of these answers may succeed when it is sent again, so the answer does not name stored parts.
SEND_AGAIN = frozenset({408, 503})
NOTHING_STORED = 409
# The same addresses are read with GET and HEAD, which another application of the origin answers.
ALLOW = {"Allow": "GET, HEAD, OPTIONS, POST"}
# A browser must never show a response as a page.
SAFETY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

log = structlog.get_logger()


def is_for_stow(method: str, path: str) -> bool:
    """True if the STOW-RS door answers the request: any method but GET and HEAD at an address of studies."""
    return method not in ("GET", "HEAD") and study_in(path) is not None


@dataclass(frozen=True)
class StowResponse:
    """A response; it closes the connection when a part of the request was not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    closes: bool = False


@dataclass
class Stow:
    """The STOW-RS door of one process, and its open requests."""

    intake: Intake
    settings: StowSettings
    tenant: str
    # The address of the origin for clients, as in ApiSettings; empty: the one that they used.
    public_url: str = ""
    # Asks the catalog which contents it shows, if there is one.
    query: InitVar[ShownQuery | None] = None
    shown: ShownContents = field(init=False)
    requests: dict[asyncio.Task[Any], RequestBody] = field(default_factory=dict)
    # The ends of transfers whose last parts are still being stored; a request that was cancelled does not wait for its.
    endings: set[asyncio.Task[None]] = field(default_factory=set)
    is_closing: bool = False

    def __post_init__(self, query: ShownQuery | None) -> None:
        """Share what the process knows of contents with its other doors."""
        self.shown = ShownContents(self.intake.acceptance.contents, query)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            response = await self._response(scope, receive, task)
        except NotAllowed as error:
            response = _refusal(forbidden(error))
        except Problem as error:
            response = _refusal(error)
        except ClientGone:
            STOW_REQUESTS.labels("gone").inc()
            return
        except Exception:
            log.exception("store_failed")
            response = _refusal(Problem(500, "unexpected", "this is an error of the server: see its log"))
        finally:
            self.requests.pop(task, None)
            STOW_OPEN.set(len(self.requests))
        STOW_REQUESTS.labels(response.status).inc()
        await _send(send, response)

    async def close(self, within_s: float) -> None:
        """Accept no more requests; break off those that have not ended after `within_s`, and wait until all have."""
        self.is_closing = True
        if self.requests:
            _, late = await asyncio.wait(self.requests, timeout=within_s)
            for body in self.requests.values():
                body.break_off(_closing)
            await asyncio.gather(*late, return_exceptions=True)
        if self.endings:
            await asyncio.wait(self.endings)

    async def _response(self, scope: Scope, receive: Receive, task: "asyncio.Task[Any]") -> StowResponse:
        head = RequestHead.of(scope)
        principal = principal_of(head, self.tenant)
        if scope["method"] == "OPTIONS":
            return StowResponse(204, ALLOW)
        if scope["method"] != "POST":
            raise Problem(405, "method", "instances are stored by POST", ALLOW)
        authorize(principal, "store", scope["path"])
        request = StoreRequest.of(scope, head, principal, self.public_url)
        self._admit(request)
        self.requests[task] = body = RequestBody(receive, self.settings, request.length)
        STOW_OPEN.set(len(self.requests))
        return await self._store(request, body)

    def _admit(self, request: StoreRequest) -> None:
        """Admit the request, perhaps in place of the slowest open request; raises Problem when it cannot be admitted."""
        if request.length is not None and request.length > self.settings.request_bytes:
            raise Problem(413, "request-bytes", f"send at most {self.settings.request_bytes} bytes in one request")
        if self.is_closing:
            raise _closing()
        if self.intake.room.is_full:
            raise Problem(503, "memory", "the archive is busy: try again soon", RETRY_AFTER)
        if len(self.requests) >= self.settings.requests:
            self._break_off_slowest()

    def _break_off_slowest(self) -> None:
        """Break off the slowest request, if it is slower than yield_bytes_per_s; raises Problem if it is not."""
        slowest = min(self.requests.values(), key=lambda body: body.bytes_per_s)
        if slowest.bytes_per_s >= self.settings.yield_bytes_per_s:
            raise Problem(503, "too-many-requests", "too many requests are open now: try again soon", RETRY_AFTER)
        slowest.break_off(_dropped)

    async def _store(self, request: StoreRequest, body: RequestBody) -> StowResponse:
        """Store the instances of a request; in every case its parts are settled before its transfer ends."""
        sender = Sender(address=request.address)
        transfer = self.intake.new_transfer(request.principal.tenant, sender, request.study)
        delivery = Delivery(self.intake.acceptance, transfer, self.settings.at_once)
        status = 0
        try:
            response = await self._delivered(request, body, delivery)
            status = response.status
            if response.closes:
                transfer.mark_partial()
            transfer.complete()
        finally:
            ending = supervised("transfer_end", _end(transfer, delivery, status))
            self.endings.add(ending)
            ending.add_done_callback(self.endings.discard)
            await asyncio.shield(ending)
        return response

    async def _delivered(self, request: StoreRequest, body: RequestBody, delivery: Delivery) -> StowResponse:
        """Deliver all parts, and return the response.

        When the body breaks off, the parts before the break stay stored, and the response names them. Raises Problem
        when none of them was stored, or the request must be sent again.
        """
        broken_off = await self._deliver(request, body, delivery)
        await delivery.settle()
        if broken_off is None and not delivery.results:
            raise Problem(400, "no-parts", "there is nothing in the request to store")
        results = await self.shown.judged(request.principal.tenant, delivery.results)
        # In a thread: to encode the results of ten thousand parts takes a while, and would block other requests.
        response = await asyncio.to_thread(_stow_response, request, results, BROKEN_OFF if broken_off else None)
        if broken_off is not None:
            if response.status == NOTHING_STORED:
                raise broken_off
            STOW_REFUSED.labels(broken_off.reason).inc()
        return response

    async def _deliver(self, request: StoreRequest, body: RequestBody, delivery: Delivery) -> Problem | None:
        """Deliver the parts while they arrive; return the problem that ended the reading of the body early, else None."""
        try:
            if request.boundary is None:
                await _deliver_single(body, delivery)
            else:
                await _deliver_parts(body, delivery, Scanner(request.boundary, _limits(self.settings)))
        except Rejected as error:
            return Problem(400, error.reason, "the body is not what its Content-Type says, or exceeds a limit")
        except Problem as error:
            if error.status in SEND_AGAIN:
                raise
            return error
        return None


async def _end(transfer: Transfer, delivery: Delivery, status: int) -> None:
    """Settle the parts of a request, then end its transfer: in a task of its own, which no cancel of the request reaches."""
    try:
        await delivery.settle()
    finally:
        transfer.abort()
        log.info("store_ended", **transfer.summary, status=status)


async def _deliver_single(body: RequestBody, delivery: Delivery) -> None:
    delivery.begin({})
    while chunk := await body.chunk():
        delivery.write(memoryview(chunk))
    await delivery.end()


async def _deliver_parts(body: RequestBody, delivery: Delivery, scanner: Scanner) -> None:
    while chunk := await body.chunk():
        for found in scanner.feed(chunk):
            match found:
                case PartBegun():
                    delivery.begin(found.headers)
                case PartEnded():
                    await delivery.end()
                case _:
                    delivery.write(found)
    scanner.finish()


def _limits(settings: StowSettings) -> MultipartLimits:
    return MultipartLimits(settings.parts, settings.part_headers, settings.part_header_bytes, settings.outside_bytes)


def _closing() -> Problem:
    return Problem(503, "closing", "the archive restarts: try again soon", RETRY_AFTER)


def _dropped() -> Problem:
    return Problem(408, "gave-way", "too many requests are open now, and this one was the slowest: send it faster")


def _refusal(error: Problem) -> StowResponse:
    STOW_REFUSED.labels(error.reason).inc()
    log.warning("store_refused", reason=error.reason, status=error.status)
    return StowResponse(error.status, {**error.headers, "Content-Type": "application/json"}, error.body, closes=True)


def _stow_response(request: StoreRequest, results: Sequence[PartResult], broken_off: Status | None) -> StowResponse:
    status = http_status(results, broken_off)
    body = encode(response_module(results, broken_off, request.base), request.media_type)
    headers = {"Content-Type": request.media_type} | (RETRY_AFTER if status == 503 else {})  # noqa: PLR2004 - HTTP's
    return StowResponse(status, headers, body, closes=broken_off is not None)


async def _send(send: Send, response: StowResponse) -> None:
    headers = {**response.headers, **SAFETY, "Content-Length": str(len(response.body))}
    headers |= {"Connection": "close"} if response.closes else {}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body})
