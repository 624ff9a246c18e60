"""The DICOM upper layer as acceptor (PS3.8 9.3): bytes into PDUs, association requests into answers.

No I/O here. Everything is parsed with struct where it lies, in time that follows from its length: pynetdicom, which the
tests hold this against, takes 187 ms for 128 contexts of 64 transfer syntaxes and 10 to 17 CPU seconds a gigabyte of
P-DATA. Its tables of the standard's storage classes are used.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydicom.uid import UID_dictionary
from pynetdicom.sop_class import _STORAGE_CLASSES

from schemas.objects import UID_LENGTH, is_uid

HEAD = struct.Struct(">BxI")
VALUE_HEAD = struct.Struct(">IBB")
ANSWER = struct.Struct(">BxIxBBB")

# PS3.8 table 9-10 and following.
ASSOCIATE_RQ, ASSOCIATE_AC, DATA, RELEASE_RQ, ABORT = 0x01, 0x02, 0x04, 0x05, 0x07
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
# A-RELEASE-RQ and A-ABORT have no other length (PS3.8 9.3.6, 9.3.8).
FIXED_BYTES = 4

# PS3.8 E.2: in the message control header, bit 0 says command, bit 1 says last fragment.
IS_COMMAND, IS_LAST = 0x01, 0x02

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
STANDARD_ROOT = "1.2.840.10008."
# Everything under this root is a storage class, retired ones too, which old modalities still send.
STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
STORAGE_CLASSES = frozenset(_STORAGE_CLASSES.values())
VERIFICATION = "1.2.840.10008.1.1"
# Those whose encoding is known, all of the standard's, retired ones too; as they are written, with padding or without.
TRANSFER_SYNTAXES = {
    uid.encode() + padding: uid
    for uid, (_, kind, *_) in UID_dictionary.items()
    if kind == "Transfer Syntax"
    for padding in (b"", b"\0", b" ")
}
# What a peer may be allowed to ask for.
SERVICES = frozenset({"echo", "store"})

# A-ASSOCIATE-RQ and -AC (PS3.8 tables 9-11, 9-17): the version, the titles, then items of kind and length.
ASSOCIATE = struct.Struct(">6xHxx16s16s32x")
ECHOED = slice(10, ASSOCIATE.size)
ITEM = struct.Struct(">BxH")
APPLICATION_ITEM, PROPOSED_ITEM, ANSWERED_ITEM, USER_ITEM = 0x10, 0x20, 0x21, 0x50
ABSTRACT_ITEM, TRANSFER_ITEM = 0x30, 0x40
# PS3.8 D.1, PS3.7 D.3.3.
LENGTH_ITEM, CLASS_ITEM, WINDOW_ITEM, VERSION_ITEM = 0x51, 0x52, 0x53, 0x55
# There are 128 numbers for contexts (PS3.8 9.3.2.2), and as much again is room enough for what else may come.
MOST_ITEMS = 256
# PS3.8 table 9-18.
ACCEPTED, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4
Item = tuple[int, bytes]
# The default repertoire without control characters and backslash (PS3.5 6.2, AE).
TITLE = re.compile(rb"[ -\[\]-~]+")

# What a peer that has not associated yet gets: few bytes, since anybody may open a socket.
FIRST_BUFFER_BYTES = 16 * 1024


class Violation(Exception):
    """The peer broke a rule: abort. `reason` names it in metrics, `code` is the abort's own (PS3.8 table 9-26)."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Listener(Protocol):
    """What the reader tells."""

    def associate_requested(self, pdu: bytes) -> None:
        """Take an A-ASSOCIATE-RQ, whole, head included."""

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Take the next piece of a presentation data value; is_whole when it ends here. The view is reused."""

    def release_requested(self) -> None:
        """Take an A-RELEASE-RQ."""

    def aborted(self) -> None:
        """Take an A-ABORT."""


class Reader:
    """Turns a byte stream, however it is cut, into the same PDUs. Holds one receive buffer, small until it may be large.

    Pieces of data values go out as they come: nothing waits for a PDU to be complete, and no declared length
    makes memory grow.
    """

    def __init__(
        self, listener: Listener, *, first_bytes: int, most_bytes: int, buffer_bytes: int = 256 * 1024
    ) -> None:
        self.completed = 0
        self.pdu_bytes = 0
        self._listener = listener
        self._first_bytes = first_bytes
        self._most_bytes = most_bytes
        self._buffer_bytes = buffer_bytes
        self._buffer = memoryview(bytearray(min(buffer_bytes, FIRST_BUFFER_BYTES)))
        self._start = self._end = 0
        self._is_first = True
        self._is_wide = self._is_stopped = False
        self._kind = 0
        self._left = 0
        self._collected = bytearray()
        self._value: tuple[int, int] | None = None
        self._value_left = 0

    @property
    def is_between(self) -> bool:
        """True if no PDU has begun."""
        return self._kind == 0 and self._start == self._end

    def space(self) -> memoryview:
        """Return the part of the buffer to receive into."""
        return self._buffer[self._end :]

    def widen(self) -> None:
        """Have the large buffer from here on: the association is accepted."""
        self._is_wide = True

    def stop(self) -> None:
        """Tell nothing more, whatever has been received already."""
        self._is_stopped = True

    def received(self, size_bytes: int) -> None:
        """Take the bytes that were put into space(); raises Violation."""
        self._end += size_bytes
        while not self._is_stopped and self._advance():
            pass
        self._keep_rest()

    def _keep_rest(self) -> None:
        """Move what waits for more bytes to the buffer's beginning: part of a header, or nothing."""
        rest = bytes(self._buffer[self._start : self._end])
        if self._is_wide and len(self._buffer) < self._buffer_bytes:
            self._buffer = memoryview(bytearray(self._buffer_bytes))
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _advance(self) -> bool:
        """Take one step; False when more bytes are needed."""
        if self._kind == 0:
            return self._take_head()
        if self._kind != DATA:
            return self._collect()
        if self._value is None:
            return self._take_value_head()
        return self._take_value()

    def _take(self, size_bytes: int) -> memoryview:
        piece = self._buffer[self._start : self._start + size_bytes]
        self._start += size_bytes
        self.pdu_bytes += size_bytes
        return piece

    def _take_head(self) -> bool:
        if self._end - self._start < HEAD.size:
            return False
        self._kind, self._left = HEAD.unpack(self._take(HEAD.size))
        self._check_head()
        self._is_first = False
        self._collected.clear()
        return True

    def _check_head(self) -> None:
        if self._kind not in (ASSOCIATE_RQ, DATA, RELEASE_RQ, ABORT):
            # 2, 3 and 6 are PDUs, but none that an acceptor is sent.
            raise Violation("unexpected-pdu", 2) if self._kind in (2, 3, 6) else Violation("unknown-pdu", 1)
        if self._is_first != (self._kind == ASSOCIATE_RQ) and self._kind != ABORT:
            raise Violation("unexpected-pdu", 2)
        if self._kind in (RELEASE_RQ, ABORT) and self._left != FIXED_BYTES:
            raise Violation("malformed-pdu", 6)
        if self._kind == DATA and self._left < VALUE_HEAD.size:
            # PS3.8 9.3.5: one value or more. Empty ones would keep an association for ever, at our cost.
            raise Violation("malformed-pdu", 6)
        if self._left > (self._first_bytes if self._is_first else self._most_bytes):
            raise Violation("pdu-too-long", 6)

    def _collect(self) -> bool:
        piece = self._take(min(self._left, self._end - self._start))
        self._collected += piece
        self._left -= len(piece)
        if self._left:
            return False
        kind = self._kind
        self._complete()
        self._tell(kind)
        return True

    def _tell(self, kind: int) -> None:
        if kind == ASSOCIATE_RQ:
            self._listener.associate_requested(HEAD.pack(kind, len(self._collected)) + bytes(self._collected))
        elif kind == RELEASE_RQ:
            self._listener.release_requested()
        else:
            self._listener.aborted()

    def _take_value_head(self) -> bool:
        if self._left == 0:
            self._complete()
            return True
        if self._left < VALUE_HEAD.size:
            raise Violation("malformed-pdu", 6)
        if self._end - self._start < VALUE_HEAD.size:
            return False
        length, context_id, control = VALUE_HEAD.unpack(self._take(VALUE_HEAD.size))
        # The length counts context and control, not itself.
        self._value_left = length - 2
        self._left -= VALUE_HEAD.size
        if not 0 <= self._value_left <= self._left:
            raise Violation("malformed-pdu", 6)
        self._value = (context_id, control)
        return True

    def _take_value(self) -> bool:
        here = min(self._value_left, self._end - self._start)
        if self._value is None or (here == 0 and self._value_left):
            return False
        piece = self._take(here)
        self._value_left -= here
        self._left -= here
        (context_id, control), is_whole = self._value, self._value_left == 0
        if is_whole:
            self._value = None
        self._listener.data_arrived(context_id, control, piece, is_whole=is_whole)
        return True

    def _complete(self) -> None:
        self._kind = 0
        self.completed += 1
        self.pdu_bytes = 0


@dataclass(frozen=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Accepted:
    """An association: who calls whom, in which contexts, how large our PDUs may be, and the A-ASSOCIATE-AC."""

    calling_ae: str
    called_ae: str
    contexts: dict[int, Context]
    peer_pdu_bytes: int
    reply: bytes


@dataclass(frozen=True)
class Refused:
    """No association: why, and the A-ASSOCIATE-RJ."""

    reason: str
    reply: bytes


# PS3.8 table 9-21: result (1 for ever, 2 for now), source, reason.
REFUSALS = {
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
class Terms:
    """What we offer: our largest PDU, who we are, which services; and how much we read."""

    pdu_bytes: int
    most_contexts: int
    implementation_uid: str
    implementation_version: str
    services: frozenset[str] = SERVICES
    most_transfer_syntaxes: int = 64
    unknown_syntaxes: int = 2048
    user_information_bytes: int = 65535


@dataclass(frozen=True)
class Proposed:
    """A presentation context as proposed, the transfer syntaxes as they were written, in the proposer's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[bytes, ...]

    @cached_property
    def unknown(self) -> int:
        """Count the transfer syntaxes that come before the first one that is known."""
        asked = self.transfer_syntaxes
        return next((place for place, one in enumerate(asked) if one in TRANSFER_SYNTAXES), len(asked))


@dataclass(frozen=True)
class Proposal:
    """An A-ASSOCIATE-RQ; of the user information what we understand, by kind."""

    version: int
    called_ae: str
    calling_ae: str
    application_context: str
    contexts: tuple[Proposed, ...]
    user_information: dict[int, bytes]


def refuse(reason: str) -> Refused:
    """Return the A-ASSOCIATE-RJ for a reason of REFUSALS."""
    return Refused(reason, ANSWER.pack(0x03, FIXED_BYTES, *REFUSALS[reason]))


def abort_pdu(code: int) -> bytes:
    """Return an A-ABORT from the upper layer with a reason of PS3.8 table 9-26."""
    return ANSWER.pack(ABORT, FIXED_BYTES, 0, 2, code)


def negotiate(pdu: bytes, terms: Terms) -> Accepted | Refused:
    """Answer an A-ASSOCIATE-RQ; raises Violation when it is none, or over a limit."""
    proposal = propose(pdu, terms)
    return _objection(proposal, terms) or _accept(pdu, proposal, terms)


def propose(pdu: bytes, terms: Terms) -> Proposal:
    """Read an A-ASSOCIATE-RQ, head included (PS3.8 9.3.2); raises Violation.

    Items that are not known are passed over (PS3.8 9.3.1), those that may come once come once.
    """
    called_ae, calling_ae = titles(pdu)
    items = _items(pdu[ASSOCIATE.size :], "too-many-items", MOST_ITEMS)
    (application,) = _of_kind(items, APPLICATION_ITEM, 1, 1)
    return Proposal(
        version=ASSOCIATE.unpack_from(pdu)[0],
        called_ae=called_ae,
        calling_ae=calling_ae,
        application_context=_text(application),
        contexts=tuple(_contexts(items, terms)),
        user_information=_user_information(_of_kind(items, USER_ITEM, 0, 1), terms),
    )


def titles(pdu: bytes) -> tuple[str, str]:
    """Read the called and the calling AE title of an A-ASSOCIATE-RQ, without their padding; raises Violation."""
    if len(pdu) < ASSOCIATE.size:
        raise Violation("malformed-associate", 6)
    _, called, calling = ASSOCIATE.unpack_from(pdu)
    return _title(called), _title(calling)


def _title(raw: bytes) -> str:
    found = TITLE.fullmatch(raw.rstrip(b"\0 "))
    if found is None:
        raise Violation("malformed-associate", 6)
    return found[0].decode("ascii").strip()


def _items(data: bytes, reason: str, most: int) -> list[Item]:
    """Cut items into kind and value; raises Violation(reason) when there are more.

    There may be 8,192 transfer syntaxes: one loop, without a generator or a view of each, takes half of the time.
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
    """Return the values of one kind; raises Violation when there are fewer or more."""
    values = [value for kind, value in items if kind == wanted]
    if not least <= len(values) <= most:
        raise Violation("malformed-associate", 6)
    return values


def _text(value: bytes) -> str:
    return str(value, "ascii", "replace").rstrip("\0 ")


def _contexts(items: list[Item], terms: Terms) -> Iterator[Proposed]:
    """Read the proposed contexts, as long as there is something in them that is known."""
    unknown = 0
    for kind, value in items:
        if kind == PROPOSED_ITEM:
            proposed = _proposed(value, terms)
            unknown += proposed.unknown
            if unknown > terms.unknown_syntaxes:
                raise Violation("too-many-unknown-syntaxes", 6)
            yield proposed


def _proposed(value: bytes, terms: Terms) -> Proposed:
    """Read a proposed context (PS3.8 table 9-13)."""
    if len(value) < ITEM.size:
        raise Violation("malformed-associate", 6)
    items = _items(value[ITEM.size :], "too-many-transfer-syntaxes", terms.most_transfer_syntaxes + 1)
    (abstract,) = _of_kind(items, ABSTRACT_ITEM, 1, 1)
    transfers = _of_kind(items, TRANSFER_ITEM, 1, terms.most_transfer_syntaxes)
    return Proposed(value[0], _text(abstract), tuple(transfers))


def _user_information(values: list[bytes], terms: Terms) -> dict[int, bytes]:
    """Read the longest PDU that the peer takes and whether it speaks of asynchronous operations."""
    if any(len(value) > terms.user_information_bytes for value in values):
        raise Violation("user-information-too-long", 6)
    items = [one for value in values for one in _items(value, "too-many-items", len(value))]
    found = {kind: one for kind, one in items if kind in (LENGTH_ITEM, WINDOW_ITEM)}
    if len(found.get(LENGTH_ITEM, bytes(4))) != 4:  # noqa: PLR2004 (a number of 32 bits)
        raise Violation("malformed-associate", 6)
    return found


def _objection(proposal: Proposal, terms: Terms) -> Refused | None:
    checks = {
        "protocol-version": proposal.version & 1,
        "application-context": proposal.application_context == APPLICATION_CONTEXT,
        "no-contexts": 0 < len(proposal.contexts) <= terms.most_contexts and _are_ids_right(proposal.contexts),
    }
    return next((refuse(reason) for reason, is_fine in checks.items() if not is_fine), None)


def _are_ids_right(proposed: tuple[Proposed, ...]) -> bool:
    ids = {one.context_id for one in proposed}
    return len(ids) == len(proposed) and all(one % 2 == 1 for one in ids)


def _accept(pdu: bytes, proposal: Proposal, terms: Terms) -> Accepted:
    chosen = [(one, *_choose(one, terms.services)) for one in proposal.contexts]
    return Accepted(
        calling_ae=proposal.calling_ae,
        called_ae=proposal.called_ae,
        contexts={one.context_id: Context(one.abstract_syntax, uid) for one, result, uid in chosen if not result},
        peer_pdu_bytes=int.from_bytes(proposal.user_information.get(LENGTH_ITEM, b""), "big"),
        reply=_reply(pdu, proposal, [(one.context_id, result, uid) for one, result, uid in chosen], terms),
    )


def _choose(proposed: Proposed, services: frozenset[str]) -> tuple[int, str]:
    """Return the result and the transfer syntax: in the proposer's order, else senders decompress before they send."""
    asked = proposed.transfer_syntaxes
    if service_of(proposed.abstract_syntax) not in services:
        return NO_ABSTRACT_SYNTAX, _text(asked[0])
    if proposed.unknown == len(asked):
        return NO_TRANSFER_SYNTAX, _text(asked[0])
    return ACCEPTED, TRANSFER_SYNTAXES[asked[proposed.unknown]]


def _reply(pdu: bytes, proposal: Proposal, answers: list[tuple[int, int, str]], terms: Terms) -> bytes:
    """Pack the A-ASSOCIATE-AC (PS3.8 9.3.3): titles as they came, an answer for each context in its order."""
    items = [
        _item(APPLICATION_ITEM, APPLICATION_CONTEXT.encode()),
        *(
            _item(ANSWERED_ITEM, bytes((number, 0, result, 0)) + _item(TRANSFER_ITEM, _uid(uid)))
            for number, result, uid in answers
        ),
        _item(USER_ITEM, _our_information(terms, is_asynchronous=WINDOW_ITEM in proposal.user_information)),
    ]
    body = struct.pack(">Hxx", 1) + pdu[ECHOED] + b"".join(items)
    return HEAD.pack(ASSOCIATE_AC, len(body)) + body


def _uid(text: str) -> bytes:
    """Encode a UID to say back: of a refused context it may be anything, and nobody looks (PS3.8 table 9-18)."""
    return text[:UID_LENGTH].encode("ascii", "replace")


def _our_information(terms: Terms, *, is_asynchronous: bool) -> bytes:
    # One at a time, said plainly (PS3.7 D.3.3.3): what is stored is stored by many associations at once.
    window = _item(WINDOW_ITEM, struct.pack(">HH", 1, 1)) if is_asynchronous else b""
    return (
        _item(LENGTH_ITEM, struct.pack(">I", terms.pdu_bytes))
        + _item(CLASS_ITEM, terms.implementation_uid.encode())
        + window
        + _item(VERSION_ITEM, terms.implementation_version.encode())
    )


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def service_of(abstract_syntax: str) -> str | None:
    """Return the service of SERVICES that an abstract syntax belongs to."""
    if is_verification(abstract_syntax):
        return "echo"
    return "store" if is_storage(abstract_syntax) else None


def is_verification(abstract_syntax: str) -> bool:
    """True if this is C-ECHO's SOP class."""
    return abstract_syntax == VERIFICATION


def is_storage(uid: str) -> bool:
    """True if instances of this class are stored: the standard's storage classes and every private class."""
    if uid.startswith(STANDARD_ROOT):
        return uid in STORAGE_CLASSES or uid.startswith(STORAGE_ROOT)
    return is_uid(uid)


def data_pdus(context_id: int, command: bytes, peer_pdu_bytes: int) -> bytes:
    """Pack a command set into P-DATA-TF PDUs of at most the peer's maximum (0: unlimited), values of even length."""
    room = max(2, (peer_pdu_bytes - VALUE_HEAD.size) & ~1) if peer_pdu_bytes else len(command)
    return b"".join(
        _data_pdu(context_id, command[start : start + room], is_last=start + room >= len(command))
        for start in range(0, len(command), room)
    )


def _data_pdu(context_id: int, piece: bytes, *, is_last: bool) -> bytes:
    control = IS_COMMAND | (IS_LAST if is_last else 0)
    head = HEAD.pack(DATA, len(piece) + VALUE_HEAD.size)
    return head + VALUE_HEAD.pack(len(piece) + 2, context_id, control) + piece
