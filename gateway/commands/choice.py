"""The content that a command chooses: it is in the store, its bytes are what they were, and its event is rebuilt."""

from gateway.commands.request import CommandRequest
from gateway.intake.rebuild import Rebuilder
from operators.errors import Rejected
from operators.http.problem import Problem
from schemas.events import InstanceStored
from schemas.objects import Identity

# How many hashes an answer lists.
MOST_LISTED = 20


async def chosen(rebuilder: Rebuilder, request: CommandRequest) -> InstanceStored:
    """Return the event of the content that a request names, with the transfer that brought its object.

    Raises Problem if the instance has no such content, or its object is damaged, Unavailable as the rebuilder does.
    """
    found = rebuilder.tiers.identities(request.tenant, request.study_uid)
    contents = {each.data_hash: each async for each in found if each.sop_uid == request.instance}
    identity = contents.get(request.content or "")
    if identity is None:
        raise Problem(404, "no-such-content", _what_there_is(sorted(contents)))
    event = await _rebuilt(rebuilder, identity)
    if event is None:
        raise Problem(409, "content-damaged", "the object of this content is damaged: send the content again first")
    return event


async def _rebuilt(rebuilder: Rebuilder, identity: Identity) -> InstanceStored | None:
    try:
        return await rebuilder.instance_stored(identity)
    except Rejected:
        # What was stored once can be read, unless the limits of a data set are stricter now.
        return None


def _what_there_is(hashes: list[str]) -> str:
    if not hashes:
        return "the study has no such instance: look at its UID"
    more = f" and {len(hashes) - MOST_LISTED} more" if len(hashes) > MOST_LISTED else ""
    return f"the contents of this instance are {', '.join(hashes[:MOST_LISTED])}{more}"
