"""The parser of multipart bodies, and what it promises."""

from collections.abc import Iterator
from typing import Any

from gateway.stow import multipart
from gateway.stow.multipart import MediaType, Scanner
from operators.errors import Rejected
from tests.fuzz.inputs import cut, outcome

LIMITS = multipart.MultipartLimits(parts=20, headers=8, header_bytes=256, outside_bytes=64)


def parts(pieces: Iterator[bytes]) -> list[Any]:
    """Return the complete parts of a body, and the reason why there are no more."""
    found: list[Any] = []
    content = bytearray()
    scanner = Scanner("B", LIMITS)
    try:
        for one in (one for piece in pieces for one in scanner.feed(piece)):
            if isinstance(one, memoryview):
                content += one
            else:
                found.append((one, bytes(content)))
                content.clear()
        scanner.finish()
    except Rejected as rejected:
        if not rejected.reason.startswith("multipart-"):
            raise
        found.append(rejected.reason)
    return found


def check_multipart(data: bytes) -> None:
    """Check that a body has the same parts however it is cut, and that a malformed media type is rejected."""
    if not data:
        return
    body = data[1:]
    whole, pieces, bytewise = (
        parts(some) for some in (iter([body]), cut(body, data[0]), (body[at : at + 1] for at in range(len(body))))
    )
    assert whole == pieces == bytewise
    text = body[:200].decode("latin-1")
    kind = outcome(lambda _: MediaType.of(text), b"")
    assert isinstance(kind, MediaType) or kind == "multipart-media-type"


def multipart_seeds() -> list[bytes]:
    """Return multipart bodies, and a Content-Type."""
    part = b"--B\r\nContent-Type: application/dicom\r\nA: b\r\n c\r\n\r\nabc\r\n-\r\n--\r\n"
    return [
        b"\1" + part + part + b"--B--\r\n",
        b"\2preamble\r\n--B \t\r\n\r\n\r\n--B\r\n\r\n--B--",
        b'\3multipart/related; type="application/dicom"; boundary=B; a="b\\"c"',
    ]
