"""Multipart bodies, streamed (RFC 2387, PS3.18 8.6.1.2, RFC 9110 14.6)."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

BYTE_RANGES = "multipart/byteranges"


@dataclass(frozen=True)
class Part:
    """One part to come: its headers and its size in bytes, None when only its bytes will tell.

    `content_range` is for parts that are a piece of one value (RFC 9110 14.6), where nothing has a place of its own.
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
class Envelope:
    """What lies around the parts."""

    media_type: str
    boundary: str

    @classmethod
    def of(cls, media_type: str, tag: str = "") -> "Envelope":
        """Return an envelope for parts of this type, with a boundary that no part holds but by a miracle.

        It is made of the answer's tag where it has one, so that the same tag is the same bytes.
        """
        return cls(media_type, tag.strip('"') or uuid4().hex)

    @property
    def content_type(self) -> str:
        """Return the response's content type."""
        if self.media_type == BYTE_RANGES:
            return f"{BYTE_RANGES}; boundary={self.boundary}"
        return f'multipart/related; type="{self.media_type}"; boundary={self.boundary}'

    def size_bytes(self, parts: Iterable[Part]) -> int | None:
        """Return the whole body's size; None when a part's is not known."""
        total = len(self.end)
        for part in parts:
            if part.size_bytes is None:
                return None
            total += len(self.before(part)) + part.size_bytes + len(AFTER)
        return total

    def before(self, part: Part) -> bytes:
        """Return what goes before a part's bytes."""
        return f"--{self.boundary}\r\n".encode() + part.head

    @property
    def end(self) -> bytes:
        """Return what goes after the last part."""
        return f"--{self.boundary}--\r\n".encode()


# The line break that ends a part belongs to the boundary after it.
AFTER = b"\r\n"
# Below this a copy costs less than another chunk on the wire.
SMALL_BYTES = 64 * 1024


async def stream(
    envelope: Envelope, parts: Sequence[Part], bodies: AsyncGenerator[AsyncGenerator[bytes, None], None]
) -> AsyncGenerator[bytes, None]:
    """Return the body: each part's bytes behind its headers, in order; nothing before the first part has begun."""
    async with aclosing(bodies):
        for part in parts:
            async with aclosing(await anext(bodies)) as body:
                first = await anext(body, b"")
                if len(first) < SMALL_BYTES:
                    yield envelope.before(part) + first
                else:
                    yield envelope.before(part)
                    yield first
                async for chunk in body:
                    yield chunk
            yield AFTER
    yield envelope.end
