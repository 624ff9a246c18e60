"""Association requests and answers (PS3.8 9.3.2 to 9.3.4): read and written in both roles, and the acceptor's rules.

No I/O. Everything is parsed with struct, in time that follows from its length: pynetdicom, which the tests compare this
with, takes 187 ms for 128 contexts of 64 transfer syntaxes.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydicom.uid import UID_dictionary

from operators.dimse.pdu import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    FIXED_BYTES,
    PDU_HEADER,
    REASON_PDU,
    Violation,
)
from schemas.objects import UID_LENGTH

# A-ASSOCIATE-RQ and -AC (PS3.8 tables 9-11, 9-17): the version, the titles, then items of kind and length.
ASSOCIATE = struct.Struct(">6xHxx16s16s32x")
ECHOED = slice(10, ASSOCIATE.size)
PROTOCOL_VERSION = 1
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
# The default repertoire without control characters and backslash (PS3.5 6.2, AE).
TITLE = re.compile(rb"[ -\[\]-~]+")

ITEM = struct.Struct(">BxH")
APPLICATION_ITEM, PROPOSED_ITEM, ANSWERED_ITEM, USER_ITEM = 0x10, 0x20, 0x21, 0x50
ABSTRACT_ITEM, TRANSFER_ITEM = 0x30, 0x40
# PS3.8 D.1, PS3.7 D.3.3.
LENGTH_ITEM, CLASS_ITEM, WINDOW_ITEM, VERSION_ITEM = 0x51, 0x52, 0x53, 0x55
# There are 128 numbers for contexts (PS3.8 9.3.2.2); another 128 are enough for the other items.
MOST_ITEMS = 256
Item = tuple[int, bytes]

# PS3.8 table 9-18.
ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4
# All transfer syntaxes of the standard, even if retired, for their encodings are known. The keys are the bytes that
# peers send, with or without padding.
TRANSFER_SYNTAXES = {
    uid.encode() + padding: uid
    for uid, (_, kind, *_) in UID_dictionary.items()
    if kind == "Transfer Syntax"
    for padding in (b"", b"\0", b" ")
}

# PS3.8 table 9-21: result (1 permanent, 2 transient), source, reason.
REJECTIONS = {
    "application-context": (1, 1, 2),
    "address": (1, 1, 3),
    "calling-ae": (1, 1, 3),
    "called-ae": (1, 1, 7),
    "certificate": (1, 1, 3),
    "protocol-version": (1, 2, 2),
    "no-contexts": (1, 1, 1),
    "too-many": (2, 3, 2),
    "memory": (2, 3, 1),
}


@dataclass(frozen=True)
class PresentationContext:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class AssociateAccepted:
    """The outcome of a negotiation: the titles, the contexts by number, the peer's longest PDU, the A-ASSOCIATE-AC."""

    calling_ae: str
    called_ae: str
    contexts: dict[int, PresentationContext]
    peer_pdu_bytes: int
    pdu: bytes


@dataclass(frozen=True)
class AssociateRejected:
    """The refusal of an association: the reason and the A-ASSOCIATE-RJ."""

    reason: str
    pdu: bytes


@dataclass(frozen=True)
class Terms:
    """Our side of a negotiation: our longest PDU, our implementation, and the limits that a request must keep."""

    pdu_bytes: int
    most_contexts: int
    implementation_uid: str
    implementation_version: str
    most_transfer_syntaxes: int = 64
    unknown_syntaxes: int = 2048
    user_information_bytes: int = 65535


@dataclass(frozen=True)
class ProposedContext:
    """A proposed presentation context: its transfer syntaxes as the bytes received, in the requestor's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[bytes, ...]

    @cached_property
    def leading_unknown(self) -> int:
        """Return the number of transfer syntaxes before the first one that is known."""
        proposed = self.transfer_syntaxes
        return next((index for index, syntax in enumerate(proposed) if syntax in TRANSFER_SYNTAXES), len(proposed))


@dataclass(frozen=True)
class AssociateRequest:
    """The content of an A-ASSOCIATE-RQ; `user_information` has the items that we understand, by kind."""

    version: int
    called_ae: str
    calling_ae: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    user_information: dict[int, bytes]


# As acceptor.


def negotiate(pdu: bytes, terms: Terms, is_served: Callable[[str], bool]) -> AssociateAccepted | AssociateRejected:
    """Answer an A-ASSOCIATE-RQ; raises Violation if it is malformed or over a limit.

    `is_served` is true for each abstract syntax that this requestor may use.
    """
    request = read_request(pdu, terms)
    return _objection(request, terms) or _accept(pdu, request, terms, is_served)


def reject(reason: str) -> AssociateRejected:
    """Return the A-ASSOCIATE-RJ for a reason of REJECTIONS."""
    return AssociateRejected(reason, REASON_PDU.pack(ASSOCIATE_RJ, FIXED_BYTES, *REJECTIONS[reason]))


def read_request(pdu: bytes, terms: Terms) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ with its header (PS3.8 9.3.2); raises Violation.

    Unknown items are ignored (PS3.8 9.3.1); an item that may occur once must not occur twice.
    """
    called_ae, calling_ae = read_titles(pdu)
    items = _items(pdu[ASSOCIATE.size :], "too-many-items", MOST_ITEMS)
    (application,) = _of_kind(items, APPLICATION_ITEM, 1, 1)
    return AssociateRequest(
        version=ASSOCIATE.unpack_from(pdu)[0],
        called_ae=called_ae,
        calling_ae=calling_ae,
        application_context=_text(application),
        contexts=tuple(_contexts(items, terms)),
        user_information=_user_information(_of_kind(items, USER_ITEM, 0, 1), terms.user_information_bytes),
    )


def read_titles(pdu: bytes) -> tuple[str, str]:
    """Return the called and the calling AE title of an A-ASSOCIATE-RQ without their padding; raises Violation."""
    if len(pdu) < ASSOCIATE.size:
        raise Violation("malformed-associate", 6)
    called, calling = raw_titles(pdu)
    return _title(called), _title(calling)


def raw_titles(pdu: bytes) -> tuple[bytes, ...]:
    """Return the called and the calling AE title as they were sent; nothing of a request that is too short for them."""
    return ASSOCIATE.unpack_from(pdu)[1:] if len(pdu) >= ASSOCIATE.size else ()


def _title(raw: bytes) -> str:
    found = TITLE.fullmatch(raw.rstrip(b"\0 "))
    if found is None:
        raise Violation("malformed-associate", 6)
    return found[0].decode("ascii").strip()


def _items(data: bytes, reason: str, most: int) -> list[Item]:
    """Cut items into kind and value; raises Violation(reason) if there are more than `most`.

    There may be 8,192 transfer syntaxes: a single loop without generators or views takes half the time.
    """
    items: list[Item] = []
    start, end, head, unpack = 0, len(data), ITEM.size, ITEM.unpack_from
    while start < end:
        if len(items) == most:
            raise Violation(reason, 6)
        value = start + head
        if value > end:
            raise Violation("malformed-associate", 6)
        kind, length = unpack(data, start)
        start = value + length
        items.append((kind, data[value:start]))
    if start > end:
        raise Violation("malformed-associate", 6)
    return items


def _of_kind(items: list[Item], wanted: int, least: int, most: int) -> list[bytes]:
    """Return the values of one kind; raises Violation if there are fewer or more than allowed."""
    values = [value for kind, value in items if kind == wanted]
    if not least <= len(values) <= most:
        raise Violation("malformed-associate", 6)
    return values


def _text(value: bytes) -> str:
    return str(value, "ascii", "replace").rstrip("\0 ")


def _contexts(items: list[Item], terms: Terms) -> Iterator[ProposedContext]:
    """Read the proposed contexts; raises Violation if too many unknown transfer syntaxes come before known ones."""
    unknown = 0
    for kind, value in items:
        if kind == PROPOSED_ITEM:
            proposed = _proposed(value, terms)
            unknown += proposed.leading_unknown
            if unknown > terms.unknown_syntaxes:
                raise Violation("too-many-unknown-syntaxes", 6)
            yield proposed


def _proposed(value: bytes, terms: Terms) -> ProposedContext:
    """Read a proposed context (PS3.8 table 9-13)."""
    if len(value) < ITEM.size:
        raise Violation("malformed-associate", 6)
    items = _items(value[ITEM.size :], "too-many-transfer-syntaxes", terms.most_transfer_syntaxes + 1)
    (abstract,) = _of_kind(items, ABSTRACT_ITEM, 1, 1)
    transfers = _of_kind(items, TRANSFER_ITEM, 1, terms.most_transfer_syntaxes)
    return ProposedContext(value[0], _text(abstract), tuple(transfers))


def _user_information(values: list[bytes], most_bytes: int) -> dict[int, bytes]:
    """Return the items for the peer's longest PDU and for its asynchronous operations, where they are present."""
    if any(len(value) > most_bytes for value in values):
        raise Violation("user-information-too-long", 6)
    items = [item for value in values for item in _items(value, "too-many-items", len(value))]
    found = {kind: value for kind, value in items if kind in (LENGTH_ITEM, WINDOW_ITEM)}
    if len(found.get(LENGTH_ITEM, bytes(4))) != 4:  # noqa: PLR2004 (a number of 32 bits)
        raise Violation("malformed-associate", 6)
    return found


def _longest_pdu(user_information: dict[int, bytes]) -> int:
    return int.from_bytes(user_information.get(LENGTH_ITEM, b""), "big")


def _objection(request: AssociateRequest, terms: Terms) -> AssociateRejected | None:
    checks = {
        "protocol-version": request.version & PROTOCOL_VERSION,
        "application-context": request.application_context == APPLICATION_CONTEXT,
        "no-contexts": 0 < len(request.contexts) <= terms.most_contexts and _are_ids_valid(request.contexts),
    }
    return next((reject(reason) for reason, is_fine in checks.items() if not is_fine), None)


def _are_ids_valid(proposed: tuple[ProposedContext, ...]) -> bool:
    ids = {context.context_id for context in proposed}
    return len(ids) == len(proposed) and all(context_id % 2 == 1 for context_id in ids)


def _accept(pdu: bytes, request: AssociateRequest, terms: Terms, is_served: Callable[[str], bool]) -> AssociateAccepted:
    chosen = [(context, *_choose(context, is_served)) for context in request.contexts]
    return AssociateAccepted(
        calling_ae=request.calling_ae,
        called_ae=request.called_ae,
        contexts={
            context.context_id: PresentationContext(context.abstract_syntax, uid)
            for context, result, uid in chosen
            if result == ACCEPTED
        },
        peer_pdu_bytes=_longest_pdu(request.user_information),
        pdu=_accept_pdu(pdu, request, [(context.context_id, result, uid) for context, result, uid in chosen], terms),
    )


def _choose(proposed: ProposedContext, is_served: Callable[[str], bool]) -> tuple[int, str]:
    """Return a context's result and its transfer syntax.

    The first known transfer syntax in the requestor's order is accepted: with any other order senders decompress before
    they send.
    """
    syntaxes = proposed.transfer_syntaxes
    if not is_served(proposed.abstract_syntax):
        return NO_ABSTRACT_SYNTAX, _text(syntaxes[0])
    if proposed.leading_unknown == len(syntaxes):
        return NO_TRANSFER_SYNTAX, _text(syntaxes[0])
    return ACCEPTED, TRANSFER_SYNTAXES[syntaxes[proposed.leading_unknown]]


def _accept_pdu(pdu: bytes, request: AssociateRequest, answers: list[tuple[int, int, str]], terms: Terms) -> bytes:
    """Pack the A-ASSOCIATE-AC (PS3.8 9.3.3): the titles unchanged, then an answer for each context in its order."""
    contexts = (
        _item(ANSWERED_ITEM, bytes((number, 0, result, 0)) + _item(TRANSFER_ITEM, _uid(uid)))
        for number, result, uid in answers
    )
    information = _our_information(terms, is_asynchronous=WINDOW_ITEM in request.user_information)
    return _associate_pdu(ASSOCIATE_AC, pdu[ECHOED], contexts, information)


def _associate_pdu(kind: int, titles: bytes, contexts: Iterable[bytes], information: bytes) -> bytes:
    body = b"".join(
        (
            struct.pack(">Hxx", PROTOCOL_VERSION),
            titles,
            _item(APPLICATION_ITEM, APPLICATION_CONTEXT.encode()),
            *contexts,
            _item(USER_ITEM, information),
        )
    )
    return PDU_HEADER.pack(kind, len(body)) + body


def _uid(text: str) -> bytes:
    """Encode a UID for the answer; for a refused context it may be any text and has no meaning (table 9-18)."""
    return text[:UID_LENGTH].encode("ascii", "replace")


def _our_information(terms: Terms, *, is_asynchronous: bool = False) -> bytes:
    # We take one operation at a time (PS3.7 D.3.3.3): a sender stores in parallel over several associations.
    window = _item(WINDOW_ITEM, struct.pack(">HH", 1, 1)) if is_asynchronous else b""
    return (
        _item(LENGTH_ITEM, struct.pack(">I", terms.pdu_bytes))
        + _item(CLASS_ITEM, terms.implementation_uid.encode())
        + window
        + _item(VERSION_ITEM, terms.implementation_version.encode())
    )


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


# As requestor.


def request_pdu(calling_ae: str, called_ae: str, contexts: Sequence[ProposedContext], terms: Terms) -> bytes:
    """Return the A-ASSOCIATE-RQ that proposes the contexts (PS3.8 9.3.2)."""
    titles = b"".join(title.encode("ascii").ljust(16) for title in (called_ae, calling_ae)) + bytes(32)
    return _associate_pdu(ASSOCIATE_RQ, titles, map(_proposed_item, contexts), _our_information(terms))


def _proposed_item(context: ProposedContext) -> bytes:
    syntaxes = b"".join(_item(TRANSFER_ITEM, syntax) for syntax in context.transfer_syntaxes)
    abstract = _item(ABSTRACT_ITEM, context.abstract_syntax.encode("ascii"))
    return _item(PROPOSED_ITEM, bytes((context.context_id, 0, 0, 0)) + abstract + syntaxes)


def read_answer(pdu: bytes, proposed: Sequence[ProposedContext]) -> AssociateAccepted | AssociateRejected:
    """Read the answer to a request: an A-ASSOCIATE-AC or -RJ with its header; raises Violation.

    The reason of a rejection is its three numbers of PS3.8 table 9-21, as "1-1-7".
    """
    if len(pdu) == REASON_PDU.size and pdu[0] == ASSOCIATE_RJ:
        _, _, *reason = REASON_PDU.unpack(pdu)
        return AssociateRejected("-".join(map(str, reason)), pdu)
    if pdu[:1] != bytes((ASSOCIATE_AC,)):
        raise Violation("unexpected-pdu", 2)
    called_ae, calling_ae = read_titles(pdu)
    items = _items(pdu[ASSOCIATE.size :], "too-many-items", MOST_ITEMS)
    information = _user_information(_of_kind(items, USER_ITEM, 0, 1), len(pdu))
    return AssociateAccepted(calling_ae, called_ae, _accepted_contexts(items, proposed), _longest_pdu(information), pdu)


def _accepted_contexts(items: list[Item], proposed: Sequence[ProposedContext]) -> dict[int, PresentationContext]:
    abstracts = {context.context_id: context.abstract_syntax for context in proposed}
    answers = (_answered(value) for kind, value in items if kind == ANSWERED_ITEM)
    return {
        number: PresentationContext(abstracts[number], uid)
        for number, result, uid in answers
        if result == ACCEPTED and number in abstracts
    }


def _answered(value: bytes) -> tuple[int, int, str]:
    """Read the answer for one context (PS3.8 table 9-18): its number, the result, the transfer syntax."""
    if len(value) < ITEM.size:
        raise Violation("malformed-associate", 6)
    syntaxes = _of_kind(_items(value[ITEM.size :], "too-many-transfer-syntaxes", 1), TRANSFER_ITEM, 0, 1)
    return value[0], value[2], _text(syntaxes[0]) if syntaxes else ""
