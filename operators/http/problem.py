"""An HTTP request that failed, as a value: its status, a reason for machines, and advice for people."""

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from operators.access.principal import NotAllowed


class Problem(Exception):
    """An error answer to a request; neither `reason` nor `advice` repeats a value that the client sent."""

    def __init__(self, status: int, reason: str, advice: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.advice = advice
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """Return the answer's body, a JSON object."""
        return orjson.dumps({"reason": self.reason, "advice": self.advice})

    @property
    def details(self) -> bytes:
        """Return the answer's body as application/problem+json (RFC 9457), with the reason as a member of its own."""
        title = HTTPStatus(self.status).phrase
        return orjson.dumps({"title": title, "status": self.status, "detail": self.advice, "reason": self.reason})


def bad_uid() -> Problem:
    """Return the answer to a path with a malformed UID."""
    return Problem(400, "bad-uid", "UIDs in the path are digits and dots, at most 64 characters")


def forbidden(error: NotAllowed) -> Problem:
    """Return the answer to a request that a rule refuses."""
    return Problem(403, error.reason, error.advice)
