"""The DICOM upper layer as acceptor (PS3.8 9.3): bytes into PDUs, association requests into answers.

No I/O here. P-DATA is parsed where the socket wrote it; the PDUs of the A-ASSOCIATE family and the choice of
contexts are pynetdicom's, whose own association takes 10 to 17 CPU seconds a gigabyte.
"""

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

from pydicom.uid import UID, UID_dictionary
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification

from schemas.objects import is_uid

HEAD = struct.Struct(">BxI")
VALUE_HEAD = struct.Struct(">IBB")
ANSWER = struct.Struct(">BxIxBBB")

# PS3.8 table 9-10 and following.
ASSOCIATE_RQ, DATA, RELEASE_RQ, ABORT = 0x01, 0x04, 0x05, 0x07
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

# What pynetdicom's codecs raise for bytes that are no association request.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, struct.error)

# Of at most first_pdu_bytes each.
REMEMBERED_REQUESTS = 32


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
    """Turns a byte stream, however it is cut, into the same PDUs. Holds one receive buffer.

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
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._start = self._end = 0
        self._is_first = True
        self._kind = 0
        self._left = 0
        self._collected = bytearray()
        self._value: tuple[int, int] | None = None
        self._value_left = 0

    @property
    def is_between(self) -> bool:
        """Say whether no PDU has begun."""
        return self._kind == 0 and self._start == self._end

    def space(self) -> memoryview:
        """Give the part of the buffer to receive into."""
        return self._buffer[self._end :]

    def received(self, size_bytes: int) -> None:
        """Take the bytes that were put into space(); raises Violation."""
        self._end += size_bytes
        while self._advance():
            pass
        self._keep_rest()

    def _keep_rest(self) -> None:
        rest = self._end - self._start
        if rest and self._start:
            self._buffer[:rest] = bytes(self._buffer[self._start : self._end])
        self._start, self._end = 0, rest

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
    "called-ae": (1, 1, 7),
    "protocol-version": (1, 2, 2),
    "no-contexts": (1, 1, 1),
    "too-many": (2, 3, 2),
    "memory": (2, 3, 1),
}


@dataclass(frozen=True)
class Terms:
    """What we offer: our largest PDU, how many contexts, who we are; `only_called` empty for any called AE."""

    pdu_bytes: int
    most_contexts: int
    implementation_uid: str
    implementation_version: str
    only_called: str = ""


def refuse(reason: str) -> Refused:
    """Give the A-ASSOCIATE-RJ for a reason of REFUSALS."""
    return Refused(reason, ANSWER.pack(0x03, FIXED_BYTES, *REFUSALS[reason]))


def abort_pdu(code: int) -> bytes:
    """Give an A-ABORT from the upper layer with a reason of PS3.8 table 9-26."""
    return ANSWER.pack(ABORT, FIXED_BYTES, 0, 2, code)


@lru_cache(maxsize=REMEMBERED_REQUESTS)
def negotiate(pdu: bytes, terms: Terms) -> Accepted | Refused:
    """Answer an A-ASSOCIATE-RQ; raises Violation when it is none.

    Remembered, since modalities that open an association per image send the same request each time, and
    pynetdicom takes 10 ms for one of 128 contexts.
    """
    request = A_ASSOCIATE_RQ()
    try:
        with warnings.catch_warnings():
            # pydicom warns of each odd UID, quoting it; we judge UIDs ourselves.
            warnings.simplefilter("ignore")
            request.decode(pdu)
            primitive = request.to_primitive()
            return _objection(request, primitive, terms) or _accept(primitive, terms)
    except MALFORMED as error:
        raise Violation("malformed-associate", 6) from error


def _objection(request: Any, primitive: Any, terms: Terms) -> Refused | None:
    proposed = primitive.presentation_context_definition_list
    checks = {
        "protocol-version": request.protocol_version & 1,
        "application-context": primitive.application_context_name == APPLICATION_CONTEXT,
        "called-ae": terms.only_called in ("", primitive.called_ae_title.strip()),
        "no-contexts": 0 < len(proposed) <= terms.most_contexts and _are_ids_right(proposed),
    }
    return next((refuse(reason) for reason, is_fine in checks.items() if not is_fine), None)


def _are_ids_right(proposed: list[Any]) -> bool:
    ids = [one.context_id for one in proposed]
    return len(set(ids)) == len(ids) and all(one % 2 == 1 for one in ids)


def _accept(primitive: Any, terms: Terms) -> Accepted:
    results = [_choose(one) for one in primitive.presentation_context_definition_list]
    contexts = {
        int(one.context_id): Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
        for one in results
        if one.result == 0
    }
    return Accepted(
        calling_ae=primitive.calling_ae_title.strip(),
        called_ae=primitive.called_ae_title.strip(),
        contexts=contexts,
        peer_pdu_bytes=int(primitive.maximum_length_received or 0),
        reply=_reply(primitive, results, terms),
    )


def _choose(proposed: Any) -> Any:
    """Accept a context in the proposer's order of transfer syntaxes, else senders decompress before they send."""
    ours = PresentationContext()
    ours.abstract_syntax = proposed.abstract_syntax
    ours.transfer_syntax = [one for one in proposed.transfer_syntax if is_transfer_syntax(str(one))]
    is_served = is_verification(proposed.abstract_syntax) or is_storage(str(proposed.abstract_syntax))
    # pynetdicom's own answers: 3 for an abstract syntax without a context of ours, 4 for no common transfer syntax.
    return negotiate_as_acceptor([proposed], [ours] if is_served else [])[0][0]


def _reply(primitive: Any, results: list[Any], terms: Terms) -> bytes:
    answer = A_ASSOCIATE()
    answer.application_context_name = APPLICATION_CONTEXT
    answer.calling_ae_title = primitive.calling_ae_title
    answer.called_ae_title = primitive.called_ae_title
    answer.result = 0
    answer.presentation_context_definition_results_list = results
    answer.user_information = list(_user_information(primitive, terms))
    return cast("bytes", A_ASSOCIATE_AC(answer).encode())


def _user_information(primitive: Any, terms: Terms) -> Iterator[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = terms.pdu_bytes
    yield length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(terms.implementation_uid)
    yield implementation
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = terms.implementation_version
    yield version
    if any(isinstance(one, AsynchronousOperationsWindowNegotiation) for one in primitive.user_information):
        # One at a time, said plainly (PS3.7 D.3.3.3): what is stored is stored by many associations at once.
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 1
        window.maximum_number_operations_performed = 1
        yield window


def is_verification(abstract_syntax: str) -> bool:
    """Say whether this is C-ECHO's SOP class."""
    return abstract_syntax == str(Verification)


def is_transfer_syntax(uid: str) -> bool:
    """Say whether this is a transfer syntax whose encoding is known: all of the standard's, retired ones too."""
    return bool(UID_dictionary.get(uid, ("", ""))[1] == "Transfer Syntax")


def is_storage(uid: str) -> bool:
    """Say whether instances of this class are stored: the standard's storage classes and every private class."""
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
