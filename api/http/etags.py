"""Entity tags: what a client has already is not read, made or sent again (RFC 9110 8.8.3, 13.1.2)."""

import re
from collections.abc import Iterable
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from operators.catalog.ports import Location

# To be changed whenever the same instances are answered with other bytes than before.
ENCODING = "1"
TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def etag(locations: Iterable[Location], *form: str) -> str:
    """Return the strong tag of an answer made of these instances; `form` is all else that its bytes depend on.

    The tag changes when an instance comes, goes or shows other content, and with each word of `form`.
    """
    content = sha256("\n".join((ENCODING, *form)).encode("utf-8", "replace") + b"\0")
    for one in locations:
        content.update(f"{one.sop_uid} {one.data_hash} {one.prefix_hash}\n".encode())
    return f'"{content.hexdigest()[:32]}"'


def headers(tag: str) -> dict[str, str]:
    """Return the headers of an answer with this tag: only the client keeps it, and revalidates before each use."""
    return {"etag": tag, "cache-control": "private, no-cache"}


def weak(tag: str) -> str:
    """Return the weak form of a tag: of an answer that means the same each time, though a part may be left out."""
    return f"W/{tag}"


def unchanged(request: Request, tag: str, *, is_there: bool = True) -> Response | None:
    """Return the 304 for a client that has the answer of this tag, None for any other client.

    `If-None-Match: *` counts only when the resource is known to be there.
    """
    text = ",".join(request.headers.getlist("if-none-match"))
    if (is_there and text.strip() == "*") or tag.removeprefix("W/") in TAG.findall(text):
        return Response(status_code=304, headers=headers(tag))
    return None
