"""Entity tags, by which an answer that the client has is not made and sent again (RFC 9110 8.8.3, 13.1.2)."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from operators.catalog.ports import Location

# Change this whenever a release answers with other bytes for the same instances.
ENCODING = "2"
# Change an answer's number whenever a release makes other bytes of this answer alone; it counts from 1.
FORMS: Mapping[str, int] = {"metadata": 7, "frames": 4, "rendered": 6, "thumbnail": 6, "application/pdf": 4}
TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def etag(locations: Iterable[Location], answer: str, *form: str) -> str:
    """Return the strong tag of an answer from these instances; `form` is everything else that its bytes depend on.

    `answer` is the answer's name in FORMS.

    The tag changes when an instance is added, is removed or has other content, and with each word of `form`.
    """
    number = FORMS.get(answer, 1)
    content = sha256("\n".join((ENCODING, answer, str(number), *form)).encode("utf-8", "replace") + b"\0")
    for location in locations:
        content.update(f"{location.sop_uid} {location.data_hash} {location.prefix_hash}\n".encode())
    return f'"{content.hexdigest()[:32]}"'


def headers(tag: str) -> dict[str, str]:
    """Return the headers of an answer with this tag; only the client may cache it, and must revalidate each use."""
    return {"etag": tag, "cache-control": "private, no-cache"}


def weak(tag: str) -> str:
    """Return the weak form of a tag, for an answer whose bytes may differ because a part could not be read."""
    return f"W/{tag}"


def unchanged(request: Request, tag: str, *, is_known_to_exist: bool = True) -> Response | None:
    """Return a 304 if the client has the answer with this tag, else None.

    `If-None-Match: *` matches only a resource that is known to exist.
    """
    text = ",".join(request.headers.getlist("if-none-match"))
    if (is_known_to_exist and text.strip() == "*") or tag.removeprefix("W/") in TAG.findall(text):
        return Response(status_code=304, headers=headers(tag))
    return None
