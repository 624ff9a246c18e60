"""The STOW-RS door (PS3.18 10.5): an ASGI application that takes a request's instances one by one as they come.

No request is ever held in whole. Until the last part is stored nobody hears a word; what is refused before its
body is read is answered at once, and the connection closed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from starlette.types import Receive, Scope, Send

from gateway.intake.lifespan import Intake
from gateway.intake.status import BROKEN_OFF, Status
from gateway.stow.body import ClientGone, RequestBody
from gateway.stow.delivery import Delivery, PartResult
from gateway.stow.multipart import MediaType, MultipartLimits, PartBegun, PartEnded, Scanner
from gateway.stow.response import FORMS, encode, http_status, module
from operators.access.principal import NotAllowed, Principal, authorize
from operators.errors import RETRY_AFTER, Rejected
from operators.http.accept import accepted, choose
from operators.http.media_types import DICOM
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem, bad_uid, forbidden
from schemas.objects import is_uid
from schemas.settings.web import StowSettings
from schemas.telemetry import STOW_OPEN, STOW_REFUSED, STOW_REQUESTS

ROOT = "/dicomweb"
STUDIES = f"{ROOT}/studies"
# What the same request, sent again, may not meet: it is told nothing of the parts that came before.
AGAIN = frozenset({408, 503})
NOTHING_STORED = 409
# Of a Content-Length: enough to be too much for anybody, few enough to be read.
MOST_DIGITS = 20
# These addresses are read, too, at the other door of the same origin.
ALLOW = {"Allow": "GET, HEAD, OPTIONS, POST"}
# A browser that is sent this must not guess that it is a page.
SAFETY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

log = structlog.get_logger()


def is_ours(method: str, path: str) -> bool:
    """True if a request belongs to this door: whatever does not read the studies' addresses."""
    return method not in ("GET", "HEAD") and _study_of(path) is not None


def _study_of(path: str) -> str | None:
    """Return the study that an address names, '' for none; None for any other address."""
    if path == STUDIES:
        return ""
    study = path.removeprefix(f"{STUDIES}/")
    return None if study in ("", path) or "/" in study else study


@dataclass(frozen=True)
class StowResponse:
    """A response: its status, headers and body, and whether more of the request may follow, which nobody reads."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    closes: bool = False


@dataclass(frozen=True)
class StoreRequest:
    """A store request as its headers say it: whose, into which study, of what form, how long, how to answer."""

    principal: Principal
    study: str
    # None: a single application/dicom.
    boundary: str | None
    length: int | None
    media_type: str
    base: str


@dataclass
class Stow:
    """The door of one process."""

    intake: Intake
    settings: StowSettings
    tenant: str
    requests: dict[asyncio.Task[Any], RequestBody] = field(default_factory=dict)
    is_closing: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            answer = await self._admitted(scope, receive, task)
        except NotAllowed as error:
            answer = self._refused(forbidden(error))
        except Problem as error:
            answer = self._refused(error)
        except ClientGone:
            STOW_REQUESTS.labels("gone").inc()
            return
        except Exception:
            log.exception("store_failed")
            answer = self._refused(Problem(500, "unexpected", "this is a fault of the server: its log says more"))
        finally:
            self.requests.pop(task, None)
            STOW_OPEN.set(len(self.requests))
        STOW_REQUESTS.labels(answer.status).inc()
        await _send(send, answer)

    async def _admitted(self, scope: Scope, receive: Receive, task: "asyncio.Task[Any]") -> StowResponse:
        asked = RequestHead.of(scope)
        principal = principal_of(asked, self.tenant)
        if scope["method"] == "OPTIONS":
            return StowResponse(204, ALLOW)
        if scope["method"] != "POST":
            raise Problem(405, "method", "instances are stored by POST", ALLOW)
        authorize(principal, "store", scope["path"])
        asking = _asking(scope, asked, principal)
        self._check_room(asking)
        self.requests[task] = coming = RequestBody(receive, self.settings, asking.length)
        STOW_OPEN.set(len(self.requests))
        return await self._store(asking, coming)

    def _check_room(self, asking: StoreRequest) -> None:
        if asking.length is not None and asking.length > self.settings.request_bytes:
            raise Problem(413, "request-bytes", f"send at most {self.settings.request_bytes} bytes in one request")
        if self.is_closing:
            raise _closing()
        if self.intake.room.is_full:
            raise Problem(503, "memory", "the archive is busy: try again soon", RETRY_AFTER)
        if len(self.requests) >= self.settings.requests:
            self._have_one_give_way()

    def _have_one_give_way(self) -> None:
        """Send the slowest away who has been waited for long enough to be called slow; raises Problem without one."""
        slowest = min(self.requests.values(), key=lambda one: one.bytes_per_s)
        if slowest.bytes_per_s >= self.settings.yield_bytes_per_s:
            raise Problem(503, "too-many-requests", "too many are storing now: try again soon", RETRY_AFTER)
        slowest.break_off(_gave_way)

    async def _store(self, asking: StoreRequest, coming: RequestBody) -> StowResponse:
        """Take the body; whatever happens, what is being stored is finished and the transfer ended."""
        transfer = self.intake.new_transfer(asking.principal.tenant, only_study=asking.study)
        delivery = Delivery(self.intake.acceptance, transfer, self.settings.at_once)
        status = 0
        try:
            answer = await self._received(asking, coming, delivery)
            status = answer.status
            if answer.closes:
                transfer.mark_partial()
            transfer.complete()
        finally:
            await asyncio.shield(delivery.settle())
            transfer.abort()
            log.info(
                "store_ended",
                transfer=transfer.transfer_id,
                outcome=transfer.outcome,
                instances=transfer.instances,
                status=status,
            )
        return answer

    async def _received(self, asking: StoreRequest, coming: RequestBody, delivery: Delivery) -> StowResponse:
        """Hand the parts on as they come, then answer; what breaks a body off leaves what came before it stored."""
        broken_off: Rejected | Problem | None = None
        try:
            await self._take(asking, coming, delivery)
        except Rejected as error:
            broken_off = Problem(400, error.reason, "the body is not what its Content-Type says, or breaks a limit")
        except Problem as error:
            if error.status in AGAIN:
                raise
            broken_off = error
        await delivery.settle()
        if broken_off is None and not delivery.results:
            raise Problem(400, "no-parts", "there is nothing in the request to store")
        # Beside the loop: ten thousand results take a while to write, and others wait.
        answer = await asyncio.to_thread(_answer, asking, delivery.results, BROKEN_OFF if broken_off else None)
        if broken_off is not None and answer.status == NOTHING_STORED:
            raise broken_off
        if broken_off is not None:
            STOW_REFUSED.labels(broken_off.reason).inc()
        return answer

    async def _take(self, asking: StoreRequest, coming: RequestBody, delivery: Delivery) -> None:
        if asking.boundary is None:
            delivery.begin({})
            while chunk := await coming.chunk():
                delivery.write(memoryview(chunk))
            await delivery.end()
            return
        scanner = Scanner(asking.boundary, _limits(self.settings))
        while chunk := await coming.chunk():
            for found in scanner.feed(chunk):
                match found:
                    case PartBegun():
                        delivery.begin(found.headers)
                    case PartEnded():
                        await delivery.end()
                    case _:
                        delivery.write(found)
        scanner.finish()

    def _refused(self, error: Problem) -> StowResponse:
        STOW_REFUSED.labels(error.reason).inc()
        log.warning("store_refused", reason=error.reason, status=error.status)
        headers = {**error.headers, "Content-Type": "application/json"}
        return StowResponse(error.status, headers, error.body, closes=True)

    async def close(self, within_s: float) -> None:
        """Take nothing more, and give what is being stored so long to be answered."""
        self.is_closing = True
        if self.requests:
            _, late = await asyncio.wait(self.requests, timeout=within_s)
            for coming in self.requests.values():
                coming.break_off(_closing)
            await asyncio.gather(*late, return_exceptions=True)


def _asking(scope: Scope, asked: RequestHead, principal: Principal) -> StoreRequest:
    """Read what a store request says of itself; raises Problem."""
    study = _study_of(scope["path"]) or ""
    if study and not is_uid(study):
        raise bad_uid()
    media_type = choose(accepted(scope), FORMS)
    if media_type is None:
        raise Problem(406, "not-acceptable", "accept application/dicom+json or application/dicom+xml")
    length = _one(asked, "content-length")
    return StoreRequest(
        principal=principal,
        study=study,
        boundary=_boundary(asked),
        length=int(length[:MOST_DIGITS]) if length.isdecimal() else None,
        media_type=media_type,
        base=f"{scope['scheme']}://{asked.headers['host'][0]}{ROOT}",
    )


def _closing() -> Problem:
    return Problem(503, "closing", "the archive restarts: try again soon", RETRY_AFTER)


def _gave_way() -> Problem:
    return Problem(408, "gave-way", "too many are storing now, and this came slowest: send it faster")


def _boundary(asked: RequestHead) -> str | None:
    """Return the boundary of the request's parts, None when it is one instance alone; raises Problem."""
    if _one(asked, "content-encoding").lower() not in ("", "identity"):
        raise Problem(415, "content-encoding", "send the request without a Content-Encoding")
    try:
        said = MediaType.of(_one(asked, "content-type"))
    except Rejected:
        said = MediaType("", {})
    if said.name == DICOM:
        return None
    if said.name != "multipart/related" or said.parameters.get("type", DICOM).lower() != DICOM:
        advice = f'send multipart/related; type="{DICOM}" or {DICOM}: metadata with bulk data is not taken'
        raise Problem(415, "media-type", advice)
    return said.parameters.get("boundary", "")


def _one(asked: RequestHead, name: str) -> str:
    """Return a header that may come once, '' when it does not; raises Problem when it comes twice."""
    values = asked.headers.get(name, [])
    if len(values) > 1:
        raise Problem(400, "header-twice", f"{name} may come once")
    return values[0] if values else ""


def _limits(settings: StowSettings) -> MultipartLimits:
    return MultipartLimits(settings.parts, settings.part_headers, settings.part_header_bytes, settings.outside_bytes)


def _answer(asking: StoreRequest, results: Sequence[PartResult], broken_off: Status | None) -> StowResponse:
    status = http_status(results, broken_off)
    body = encode(module(results, broken_off, asking.base), asking.media_type)
    headers = {"Content-Type": asking.media_type} | (RETRY_AFTER if status == 503 else {})  # noqa: PLR2004 - HTTP's
    return StowResponse(status, headers, body, closes=broken_off is not None)


async def _send(send: Send, answer: StowResponse) -> None:
    headers = {**answer.headers, **SAFETY, "Content-Length": str(len(answer.body))}
    headers |= {"Connection": "close"} if answer.closes else {}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})
