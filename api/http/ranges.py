"""The Range header, parsed to the requested bytes of a value (RFC 9110 14)."""

import re
from typing import NamedTuple

from operators.http.problem import Problem
from schemas.telemetry import API_LIMITED

# Ranges at most this far apart are joined: the bytes between them are fewer than the headers of another part.
GAP_BYTES = 80
BYTES = re.compile(r"bytes=(.*)", re.IGNORECASE)
RANGE = re.compile(r"[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*")


class Span(NamedTuple):
    """The bytes from start to end, end exclusive."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes."""
        return self.end - self.start

    def content_range(self, size_bytes: int) -> str:
        """Return the Content-Range header's text, for a value of this size."""
        return f"bytes {self.start}-{self.end - 1}/{size_bytes}"


def parse_range(text: str | None, size_bytes: int, most: int) -> tuple[Span, ...]:
    """Return the spans that a Range header requests, sorted and joined if they are near; none for the whole value.

    A malformed header is ignored. Raises Problem (416) for more than `most` ranges, and when all ranges are outside the
    value.
    """
    found = BYTES.fullmatch(text or "")
    if found is None:
        return ()
    # Split at most `most` times: a hostile header may have millions of commas.
    pieces = found[1].split(",", most)
    matches = [RANGE.fullmatch(piece) for piece in pieces[:most]]
    if len(pieces) > most:
        API_LIMITED.labels("ranges").inc()
        raise _unsatisfiable(size_bytes, f"request at most {most} ranges at a time")
    if not all(match and (match[1] or match[2]) for match in matches):
        return ()
    if any(match and match[1] and match[2] and int(match[1]) > int(match[2]) for match in matches):
        return ()
    spans = sorted(
        span for match in matches if match and (span := _span(match[1], match[2], size_bytes)).size_bytes > 0
    )
    if not spans:
        raise _unsatisfiable(size_bytes, f"request a range within the {size_bytes} bytes of this value")
    return _joined(spans)


def _span(first: str, last: str, size_bytes: int) -> Span:
    if not first:
        return Span(max(size_bytes - int(last), 0), size_bytes)
    return Span(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    joined = spans[:1]
    for span in spans[1:]:
        if span.start <= joined[-1].end + GAP_BYTES:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return tuple(joined)


def _unsatisfiable(size_bytes: int, advice: str) -> Problem:
    return Problem(416, "bad-range", advice, {"content-range": f"bytes */{size_bytes}"})
