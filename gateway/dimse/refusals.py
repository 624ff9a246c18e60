"""What the log says of an association request that led to nothing: its titles, what it proposed, and why not.

Everything in a request is bytes of anybody, so all of it is bounded and escaped, and what is no UID is not repeated.
"""

from collections.abc import Iterator
from typing import Any

import structlog
from pydicom.uid import UID

from gateway.dimse.peers import Peer
from gateway.dimse.services.table import is_served
from operators.dimse.negotiation import AssociateAccepted, ProposedContext, Terms, raw_titles, read_request
from operators.dimse.pdu import Violation
from operators.dimse.sop_classes import is_verification
from schemas.objects import is_uid

MOST_CONTEXTS = 8
MOST_SYNTAXES = 4

log = structlog.get_logger()


def is_without_use(pdu: bytes, agreed: AssociateAccepted, terms: Terms) -> bool:
    """True if every context that the request proposed for more than C-ECHO was refused, and there was one."""
    if not all(is_verification(context.abstract_syntax) for context in agreed.contexts.values()):
        return False
    proposed = read_request(pdu, terms).contexts
    return not agreed.contexts or not all(is_verification(context.abstract_syntax) for context in proposed)


def report_accepted(pdu: bytes, agreed: AssociateAccepted, terms: Terms, known_peer: Peer, **context: str) -> str:
    """Return the outcome under which an accepted association is counted; log one that is without use."""
    if not is_without_use(pdu, agreed, terms):
        return "accepted"
    report("contexts_refused", pdu, terms, known_peer, **context)
    return "contexts-refused"


def report(event: str, pdu: bytes, terms: Terms, known_peer: Peer | None, **context: str) -> None:
    """Log what an association request asked for; of one from an address that no peer has only the titles are read."""
    asked = {} if context.get("reason") == "address" else proposals(pdu, terms, known_peer)
    log.warning(event, **context, **titles(pdu), **asked)


def titles(pdu: bytes) -> dict[str, str]:
    """Return the titles of an association request, whatever bytes they are; none of a request that is too short."""
    return dict(zip(("called_ae", "calling_ae"), map(_escaped, raw_titles(pdu)), strict=False))


def proposals(pdu: bytes, terms: Terms, peer: Peer | None) -> dict[str, Any]:
    """Return the first proposed contexts and how many there are; nothing of a malformed request.

    If the peer is known, each context has the reason why it cannot be used.
    """
    try:
        contexts = read_request(pdu, terms).contexts
    except Violation:
        return {}
    return {"contexts": len(contexts), "proposed": [_proposal(one, peer) for one in contexts[:MOST_CONTEXTS]]}


def _proposal(context: ProposedContext, peer: Peer | None) -> str:
    named = f"{_name(context.abstract_syntax)} in {', '.join(_syntaxes(context))}"
    return f"{named}: {_objection(context, peer)}" if peer else named


def _syntaxes(context: ProposedContext) -> Iterator[str]:
    proposed = context.transfer_syntaxes
    yield from (_name(one.rstrip(b"\0 ").decode("ascii", "replace")) for one in proposed[:MOST_SYNTAXES])
    if len(proposed) > MOST_SYNTAXES:
        yield f"{len(proposed) - MOST_SYNTAXES} more"


def _objection(context: ProposedContext, peer: Peer) -> str:
    if not is_served(context.abstract_syntax):
        return "no service for this class"
    if not is_served(context.abstract_syntax, peer.services):
        return "not allowed to this peer"
    return "no known transfer syntax" if context.leading_unknown == len(context.transfer_syntaxes) else "acceptable"


def _name(uid: str) -> str:
    """Return the standard's keyword of a UID, the UID itself if the standard has none."""
    return (UID(uid).keyword or uid) if is_uid(uid) else "no UID"


def _escaped(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("latin-1").encode("unicode_escape").decode()
