"""Multipart responses, streamed (RFC 2387, PS3.18 8.6.1.2, RFC 9110 14.6)."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from operators.http.media_types import MULTIPART

BYTE_RANGES = "multipart/byteranges"
# The line break that ends a part belongs to the boundary after it.
AFTER = b"\r\n"
# Below this size a copy costs less than another chunk on the wire.
SMALL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Part:
    """The headers of one part; `size_bytes` is None if it is not known before the bytes are read.

    `content_range` is set when each part is a range of the same value (RFC 9110 14.6).
    """

    content_type: str
    location: str
    size_bytes: int | None
    content_range: str = ""

    @property
    def head(self) -> bytes:
        """Return the part's header lines and the empty line after them."""
        lines = [f"Content-Type: {self.content_type}"]
        lines += [] if self.size_bytes is None else [f"Content-Length: {self.size_bytes}"]
        lines += [f"Content-Range: {self.content_range}"] if self.content_range else []
        return "\r\n".join([*lines, f"Content-Location: {self.location}", "", ""]).encode()


@dataclass(frozen=True)
class MultipartFraming:
    """The bytes before, between and after the parts of one response, and its content type."""

    media_type: str
    boundary: str

    @classmethod
    def of(cls, media_type: str, tag: str = "") -> "MultipartFraming":
        """Return the framing of parts of this type, with a boundary too long to occur in a part by chance.

        The boundary is the answer's tag, if it has a tag, so that answers with the same tag have the same bytes.
        """
        return cls(media_type, tag.strip('"') or uuid4().hex)

    @property
    def content_type(self) -> str:
        """Return the response's content type."""
        if self.media_type == BYTE_RANGES:
            return f"{BYTE_RANGES}; boundary={self.boundary}"
        return f'{MULTIPART}; type="{self.media_type}"; boundary={self.boundary}'

    def size_bytes(self, parts: Iterable[Part]) -> int | None:
        """Return the size of the whole body; None when the size of a part is not known."""
        total = len(self.end)
        for part in parts:
            if part.size_bytes is None:
                return None
            total += len(self.before(part)) + part.size_bytes + len(AFTER)
        return total

    def before(self, part: Part) -> bytes:
        """Return the boundary and the headers that come before a part's bytes."""
        return f"--{self.boundary}\r\n".encode() + part.head

    @property
    def end(self) -> bytes:
        """Return the boundary that ends the body."""
        return f"--{self.boundary}--\r\n".encode()


async def stream(
    framing: MultipartFraming, parts: Sequence[Part], bodies: AsyncGenerator[AsyncGenerator[bytes, None], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the response's body: the headers and the bytes of each part, in order.

    Nothing is yielded before the first chunk of the first part has been read: an error until then can be answered.
    """
    async with aclosing(bodies):
        for part in parts:
            async with aclosing(await anext(bodies)) as body:
                first = await anext(body, b"")
                if len(first) < SMALL_BYTES:
                    yield framing.before(part) + first
                else:
                    yield framing.before(part)
                    yield first
                async for chunk in body:
                    yield chunk
            yield AFTER
    yield framing.end
