"""The error answers of the read API: the status, reason and advice for each exception."""

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from operators.access.principal import NotAllowed
from operators.errors import RETRY_AFTER, BadQuery, Rejected, Unavailable
from operators.http.media_types import JSON, PROBLEM_JSON
from operators.http.problem import Problem, forbidden
from operators.imaging.ports import FrameRejected, RendererBusy
from operators.imaging.reasons import EMPTY_REGION
from operators.retrieval.reading import Damaged, NotFound

# PS3.18 table 10.4.3-1: a resource that cannot be rendered has no representation that the client could accept.
NOT_RENDERABLE = 406
NOT_FOUND = 404


def not_found(what: str) -> Problem:
    """Return the answer to a request for a resource that this tenant does not have; `what` is its kind."""
    return Problem(NOT_FOUND, f"no-such-{what}", f"this archive has no such {what}: search for it first")


def not_acceptable(offered: str) -> Problem:
    """Return the answer to an Accept header that includes no available form; `offered` names the available forms."""
    return Problem(406, "not-acceptable", f"accept {offered}")


def not_renderable(reason: str) -> Problem:
    """Return the answer to a request for a picture that cannot be made."""
    advice = "this cannot be rendered: retrieve the frame or the instance as stored"
    return Problem(NOT_RENDERABLE, reason, advice)


# The exceptions that mean that an instance is damaged: another one may still be shown in its place.
SPOILED = (Damaged, Rejected)
# The exceptions that can mean that an instance has no picture: see is_without_picture.
NO_PICTURE = (Problem, NotFound, FrameRejected)


def is_without_picture(error: Exception) -> bool:
    """True if an exception of NO_PICTURE means that the instance has no picture; False if another try may succeed."""
    return problem_of(error).status in (NOT_FOUND, NOT_RENDERABLE)


def problem_of(error: Exception) -> Problem:
    """Return the answer to an exception; an unforeseen exception is a 500."""
    for kind, problem in ANSWERS:
        if isinstance(error, kind):
            return problem(error)
    return Problem(500, "unexpected", "the server failed: ask its operator to look in its log")


def _unavailable(error: Unavailable) -> Problem:
    advice = "a server that this service needs does not answer: try again soon"
    return Problem(503, f"{error.what}-unavailable", advice, RETRY_AFTER)


def _unreadable(error: Rejected) -> Problem:
    return Problem(500, error.reason, "this part of the stored object cannot be read: retrieve the whole instance")


def _damaged(error: Damaged) -> Problem:
    return Problem(500, error.reason, "the stored object is damaged or missing: tell the archive's operator")


def _frame_rejected(error: FrameRejected) -> Problem:
    if error.reason == EMPTY_REGION:
        return Problem(400, EMPTY_REGION, "the viewport's source region must have pixels in common with the image")
    return not_renderable(error.reason)


def _busy(_: RendererBusy) -> Problem:
    return Problem(503, "renderer-busy", "too many images are waiting to be rendered: try again soon", RETRY_AFTER)


def _of_starlette(error: HTTPException) -> Problem:
    return Problem(error.status_code, "bad-request", error.detail, error.headers)


# The first class that an exception is an instance of decides; so subclasses come before their base classes.
ANSWERS: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    (Problem, lambda error: error),
    (NotAllowed, forbidden),
    (NotFound, lambda error: not_found(error.what)),
    (Damaged, _damaged),
    (BadQuery, lambda error: Problem(400, "bad-query", str(error))),
    (RendererBusy, _busy),
    (FrameRejected, _frame_rejected),
    (Unavailable, _unavailable),
    (Rejected, _unreadable),
    (HTTPException, _of_starlette),
)


def answer(problem: Problem, path: str) -> Response:
    """Return the response to a problem with a request of this path: below /v1 as RFC 9457 has it, as commands answer."""
    body, media_type = (problem.details, PROBLEM_JSON) if path.startswith("/v1/") else (problem.body, JSON)
    return Response(body, problem.status, problem.headers, media_type)
