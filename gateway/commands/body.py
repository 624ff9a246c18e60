"""Read a command from the JSON of a REST request."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.commands.request import CommandRequest
from gateway.stow.multipart import MediaType
from operators.access.principal import Principal
from operators.errors import Rejected
from operators.http.media_types import JSON
from operators.http.principal import RequestHead
from operators.http.problem import Problem

# The longest reason as escapes of JSON has 12 KiB.
BODY_BYTES = 16 * 1024
# What a request may say, and of which type it is; null is the same as nothing.
FIELDS: Mapping[str, type] = {"id": str, "action": str, "why": str, "count": int, "instance": str, "content": str}


def expect_json(head: RequestHead) -> None:
    """Raise Problem unless the request says that its body is JSON, which no form of another origin's page can say."""
    try:
        media_type = MediaType.of(head.single("content-type")).name
    except Rejected:
        media_type = ""
    if media_type != JSON:
        raise Problem(415, "media-type", f"send {JSON}, and say so in Content-Type")
    if head.single("content-encoding").lower() not in ("", "identity"):
        raise Problem(415, "content-encoding", "send the request without a Content-Encoding")
    if (head.length or 0) > BODY_BYTES:
        raise Problem(413, "request-bytes", f"send at most {BODY_BYTES} bytes in one request")


def request_in(body: bytes, study_uid: str, principal: Principal) -> CommandRequest:
    """Return the request in a body; raises Problem for one that says something else than a command."""
    said = {name: value for name, value in _object(body).items() if value is not None}
    if not said.keys() <= FIELDS.keys():
        raise Problem(400, "unknown-field", f"a command has {', '.join(FIELDS)} and nothing else")
    if wrong := [name for name, kind in FIELDS.items() if name in said and not isinstance(said[name], kind)]:
        raise Problem(400, "bad-field", f"{wrong[0]} is {'a whole number' if FIELDS[wrong[0]] is int else 'a text'}")
    return CommandRequest(
        tenant=principal.tenant,
        study_uid=study_uid,
        action=said.get("action", ""),
        who=principal.name,
        why=said.get("why", ""),
        command_id=said.get("id", ""),
        count=said.get("count"),
        instance=said.get("instance"),
        content=said.get("content"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "bad-json", "send a JSON object in UTF-8") from error
    if not isinstance(found, dict):
        raise Problem(400, "bad-json", "send a JSON object in UTF-8")
    return found
