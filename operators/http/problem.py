"""An HTTP request that failed, as a value: its status, a reason for machines, and advice for people."""

from collections.abc import Mapping

import orjson

from operators.access.principal import NotAllowed


class Problem(Exception):
    """A request that is answered with an error status; neither reason nor advice repeats a value that was sent."""

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


def bad_uid() -> Problem:
    """Return the answer to a path that has something else where a UID belongs."""
    return Problem(400, "bad-uid", "UIDs in the path are digits and dots, at most 64 characters")


def forbidden(error: NotAllowed) -> Problem:
    """Return the answer to a requestor whom a rule refuses."""
    return Problem(403, error.reason, error.advice)
