"""Read what a call says from the JSON of its body."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.calls.call import Call
from gateway.stow.multipart import MediaType
from operators.errors import Rejected
from operators.http.media_types import JSON
from operators.http.principal import RequestHead
from operators.http.problem import Problem

TYPES: Mapping[type, str] = {str: "a text", int: "a whole number", list: "a list"}


def expect_json(head: RequestHead, most_bytes: int) -> None:
    """Raise Problem unless the request says that its body is JSON, which no form of another origin's page can say."""
    try:
        media_type = MediaType.of(head.single("content-type")).name
    except Rejected:
        media_type = ""
    if media_type != JSON:
        raise Problem(415, "media-type", f"send {JSON}, and say so in Content-Type")
    if head.single("content-encoding").lower() not in ("", "identity"):
        raise Problem(415, "content-encoding", "send the request without a Content-Encoding")
    if (head.length or 0) > most_bytes:
        raise Problem(413, "request-bytes", f"send at most {most_bytes} bytes in one request")


def said_in(body: bytes, call: Call) -> dict[str, Any]:
    """Return what a body says, without what is null; raises Problem for a body that says something else than the call."""
    said, fields = {name: value for name, value in _object(body).items() if value is not None}, call.fields
    if not said.keys() <= fields.keys():
        raise Problem(400, "unknown-field", f"{call.what} has {', '.join(fields)} and nothing else")
    if wrong := [name for name, kind in fields.items() if name in said and not isinstance(said[name], kind)]:
        raise Problem(400, "bad-field", f"{wrong[0]} is {TYPES[fields[wrong[0]]]}")
    return said


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "bad-json", "send a JSON object in UTF-8") from error
    if not isinstance(found, dict):
        raise Problem(400, "bad-json", "send a JSON object in UTF-8")
    return found
