"""The error answers of the read API: which exception becomes which status."""

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from operators.access.principal import NotAllowed
from operators.errors import RETRY_AFTER, BadQuery, Rejected, Unavailable
from operators.http.problem import Problem, forbidden


class Damaged(Problem):
    """An object is missing or its bytes are not those that were stored: never served as good."""

    def __init__(self, reason: str) -> None:
        super().__init__(500, reason, "the stored object is damaged or missing: tell the archive's operator")


def not_found(what: str) -> Problem:
    """Return the answer for what is not in the archive, or not of this tenant."""
    return Problem(404, f"no-such-{what}", f"search for the {what} first: it is not in this archive")


def not_acceptable(offered: str) -> Problem:
    """Return the answer to an Accept header that no form of the resource meets."""
    return Problem(406, "not-acceptable", f"accept {offered}")


def problem_of(error: Exception) -> Problem:
    """Return how an exception is answered; one that nobody foresaw is a 500."""
    for kind, problem in ANSWERS:
        if isinstance(error, kind):
            return problem(error)
    return Problem(500, "unexpected", "this is a fault of the server: its log says more")


def _unavailable(error: Unavailable) -> Problem:
    advice = "a server behind this one does not answer: try again soon"
    return Problem(503, f"{error.what}-unavailable", advice, RETRY_AFTER)


def _unreadable(error: Rejected) -> Problem:
    return Problem(500, error.reason, "the stored object cannot be read that way: retrieve the whole instance")


def _of_starlette(error: HTTPException) -> Problem:
    return Problem(error.status_code, "bad-request", error.detail, error.headers)


# In this order: the first that an exception is one of.
ANSWERS: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    (Problem, lambda error: error),
    (NotAllowed, forbidden),
    (BadQuery, lambda error: Problem(400, "bad-query", str(error))),
    (Unavailable, _unavailable),
    (Rejected, _unreadable),
    (HTTPException, _of_starlette),
)


def answer(problem: Problem) -> Response:
    """Return the response of a problem."""
    return Response(problem.body, problem.status, problem.headers, "application/json")
