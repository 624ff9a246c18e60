"""The parts of a multipart/related body, found while its bytes arrive (RFC 2387, RFC 2046 5.1.1).

A part's bytes are not kept: they are returned as views of the chunk that contains them. The parts do not depend on how
the body is cut into chunks.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from operators.errors import Rejected
from operators.http.accept import unquoted

# RFC 2046 5.1.1: at most 70 of these characters, of which the last is not a space.
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word
QUOTED = r'"(?:[^"\\]|\\.)*"'
NAME = re.compile(TOKEN)
MEDIA_TYPE = re.compile(rf"({TOKEN}/{TOKEN})[ \t]*(.*)", re.DOTALL)
# An unquoted value may have characters that need quotes: many clients write type=application/dicom.
PARAMETER = re.compile(rf";[ \t]*(?:({TOKEN})=({QUOTED}|[^\s;\"]+))?[ \t]*")
FOLD = re.compile(rb"\r\n[ \t]+")
STRAY = re.compile(rb"[\r\n\0]")
# What may follow the last boundary: padding, and after a line break the epilogue.
AFTER = re.compile(rb"[ \t]*(\r\n.*)?", re.DOTALL)
# Padding between a boundary and the end of its line, in bytes.
MOST_PADDING = 64


@dataclass(frozen=True)
class MediaType:
    """A media type; its name and the names of its parameters are in lower case."""

    name: str
    parameters: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> "MediaType":
        """Read a Content-Type; raises Rejected for text that is no media type, or has a parameter twice."""
        match = MEDIA_TYPE.fullmatch(text.strip())
        parameters: dict[str, str] = {}
        rest = match[2] if match else "?"
        position = 0
        while position < len(rest):
            found = PARAMETER.match(rest, position)
            if found is None or (found[1] or "").lower() in parameters:
                raise Rejected("multipart-media-type")
            if found[1]:
                parameters[found[1].lower()] = unquoted(found[2])
            position = found.end()
        return cls(match[1].lower() if match else "", parameters)


@dataclass(frozen=True)
class MultipartLimits:
    """How many parts a body may have, how many headers and header bytes each part, how many bytes before and after them."""

    parts: int
    headers: int
    header_bytes: int
    outside_bytes: int


@dataclass(frozen=True)
class PartBegun:
    """The beginning of a part; header names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True)
class PartEnded:
    """The end of the part that began last."""


# A scan finds, for each part in order: its beginning, its bytes (views of the chunks), its end.
Found = PartBegun | memoryview | PartEnded
State = Callable[[bytes, int], tuple[Found, ...]]


class Scanner:
    """A scanner that finds the parts of one body.

    Its methods raise Rejected, with a reason that begins with multipart-, for bytes that are no multipart body.
    """

    def __init__(self, boundary: str, limits: MultipartLimits) -> None:
        if not BOUNDARY.fullmatch(boundary):
            raise Rejected("multipart-boundary")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._limits = limits
        self._state: State = self._preamble
        # A body may begin with its first boundary, without the line break before it: the scanner adds that.
        self._held = b"\r\n"
        self._before_bytes = -len(self._held)
        self._position = 0
        self._parts = 0
        self._after = b""

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """Yield what is found in the next bytes, in order."""
        data = self._held + chunk if self._held else chunk
        self._held, self._position = b"", 0
        while self._position < len(data):
            yield from self._state(data, self._position)

    def finish(self) -> None:
        """Check at the end of the body that it is complete; raises Rejected when it is not."""
        if self._state != self._epilogue:
            raise Rejected("multipart-unfinished")
        if not AFTER.fullmatch(self._after):
            raise Rejected("multipart-boundary-line")

    # Each state returns what it finds at a position, and moves the position; the end of the data means: wait for more.

    def _preamble(self, data: bytes, position: int) -> tuple[Found, ...]:
        found, end = self._search(data, position)
        self._before_bytes += end - position
        if self._before_bytes > self._limits.outside_bytes:
            raise Rejected("multipart-preamble")
        self._move(data, found, end)
        return ()

    def _line(self, data: bytes, position: int) -> tuple[Found, ...]:
        """Read the rest of a boundary's line: only padding, or the two hyphens after the last part."""
        if data.startswith(b"--", position):
            self._state, self._position = self._epilogue, position + 2
            return ()
        most = position + MOST_PADDING + 2
        end = data.find(b"\r\n", position, most)
        if end < 0 and len(data) < most:
            return self._hold(data, position)
        if end < 0 or data[position:end].strip(b" \t"):
            raise Rejected("multipart-boundary-line")
        # The line break stays for _head: it precedes the first header, or the empty line of a part without headers.
        self._state, self._position = self._head, end
        return ()

    def _head(self, data: bytes, position: int) -> tuple[Found, ...]:
        most = position + self._limits.header_bytes + 6
        end = data.find(b"\r\n\r\n", position, most)
        if end < 0 and len(data) < most:
            return self._hold(data, position)
        if end < 0:
            raise Rejected("multipart-header-bytes")
        self._parts += 1
        if self._parts > self._limits.parts:
            raise Rejected("multipart-parts")
        self._state, self._position = self._empty_line, end + 2
        return (PartBegun(_headers(data[position + 2 : end], self._limits.headers)),)

    def _empty_line(self, data: bytes, position: int) -> tuple[Found, ...]:
        """Skip the line break after the headers; in a part without a body it belongs to the boundary."""
        start = data[position : position + len(self._delimiter)]
        if start == self._delimiter:
            self._move(data, position, position)
            return (PartEnded(),)
        if self._delimiter.startswith(start):
            return self._hold(data, position)
        self._state, self._position = self._body, position + 2
        return ()

    def _body(self, data: bytes, position: int) -> tuple[Found, ...]:
        found, end = self._search(data, position)
        self._move(data, found, end)
        piece = (memoryview(data)[position:end],) if end > position else ()
        return piece if found < 0 else (*piece, PartEnded())

    def _epilogue(self, data: bytes, position: int) -> tuple[Found, ...]:
        self._after += data[position : position + self._limits.outside_bytes + 1]
        if len(self._after) > self._limits.outside_bytes:
            raise Rejected("multipart-epilogue")
        return self._hold(data, len(data))

    def _search(self, data: bytes, position: int) -> tuple[int, int]:
        """Return the start of the next delimiter, -1 if there is none yet, and the end of the bytes before it."""
        found = data.find(self._delimiter, position)
        if found >= 0:
            return found, found
        # A delimiter has one carriage return, its first byte, so an incomplete one begins at the last carriage return.
        start = data.rfind(b"\r", max(position, len(data) - len(self._delimiter) + 1))
        has_begun = start >= 0 and self._delimiter.startswith(data[start:])
        return -1, start if has_begun else len(data)

    def _move(self, data: bytes, found: int, end: int) -> None:
        """Move past the delimiter if it was found, else wait for more bytes."""
        if found < 0:
            self._hold(data, end)
        else:
            self._state, self._position = self._line, found + len(self._delimiter)

    def _hold(self, data: bytes, position: int) -> tuple[()]:
        self._held, self._position = data[position:], len(data)
        return ()


def _headers(block: bytes, most: int) -> dict[str, str]:
    """Return a part's headers by name; raises Rejected for headers that are malformed, repeated or too many."""
    lines = FOLD.sub(b" ", block).split(b"\r\n") if block else []
    if len(lines) > most:
        raise Rejected("multipart-headers")
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not NAME.fullmatch(name) or name.lower() in found or STRAY.search(line):
            raise Rejected("multipart-header")
        found[name.lower()] = value.strip(" \t")
    if found.get("content-type", "").lower().startswith("multipart/"):
        raise Rejected("multipart-nested")
    return found
