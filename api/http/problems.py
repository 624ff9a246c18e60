"""What went wrong, as an answer: a status, a reason for machines, and what to do, never a value that was sent."""

from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from operators.errors import RETRY_AFTER, BadQuery, Rejected, Unavailable


class Problem(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: int, reason: str, advice: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.advice = advice
        self.headers = dict(headers or {})


class Damaged(Problem):
    """An object is missing or its bytes are not those that were stored: never served as good."""

    def __init__(self, reason: str) -> None:
        super().__init__(500, reason, "the stored object is damaged or missing: tell the archive's operator")


def bad_uid() -> Problem:
    """Return the answer to a path with something else where a UID belongs."""
    return Problem(400, "bad-uid", "UIDs in the path are digits and dots, at most 64 characters")


def not_found(what: str) -> Problem:
    """Return the answer for what is not here, or not for this tenant."""
    return Problem(404, f"no-such-{what}", f"search for the {what} first: it is not in this archive")


def not_acceptable(offered: str) -> Problem:
    """Return the answer to an Accept header that nothing meets."""
    return Problem(406, "not-acceptable", f"accept {offered}")


def problem_of(error: Exception) -> Problem:
    """Return how an exception is answered; what nobody foresaw is 500."""
    match error:
        case Problem():
            return error
        case BadQuery():
            return Problem(400, "bad-query", str(error))
        case Unavailable():
            advice = "a server behind this one does not answer: try again soon"
            return Problem(503, f"{error.what}-unavailable", advice, RETRY_AFTER)
        case Rejected():
            return Problem(500, error.reason, "the stored object cannot be read that way: retrieve the whole instance")
        case HTTPException():
            return Problem(error.status_code, "bad-request", error.detail, error.headers)
    return Problem(500, "unexpected", "this is a fault of the server: its log says more")


def answer(problem: Problem) -> Response:
    """Return the response: a small JSON with the reason and what to do."""
    body = orjson.dumps({"reason": problem.reason, "advice": problem.advice})
    return Response(body, problem.status, problem.headers, "application/json")
