"""The parsers of the DICOM upper layer, and what they promise."""

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from gateway.dimse.messages import MessageAssembler
from gateway.dimse.services.echo import CEchoRequest
from gateway.dimse.services.service import Association, Request
from gateway.dimse.services.store import CStoreRequest
from gateway.dimse.services.table import begin, is_served
from gateway.intake.accept import Acceptance, AcceptancePorts
from gateway.intake.quarantine import Quarantine, QuarantineRules
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.status import STORED
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import Transfer
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.dimse.commands import parse_command, response
from operators.dimse.negotiation import AssociateAccepted, Terms, negotiate
from operators.dimse.pdu import PduReader, Violation, data_pdus
from tests.fuzz.inputs import CT, cut

TERMS = Terms(pdu_bytes=16384, most_contexts=128, implementation_uid="2.25.1", implementation_version="TEST")
STORED_BYTES = 64 * 1024
# Nothing is stored, so nothing is recorded.
NO_OUTBOX = cast("Any", None)


@dataclass
class Peer:
    """The listener of an association: it records its calls, in order, with the pieces of data joined."""

    room: Room = field(default_factory=lambda: Room(2**20))
    events: list[Any] = field(default_factory=list)
    messages: MessageAssembler | None = None
    peer_pdu_bytes: int = 0

    def associate_requested(self, pdu: bytes) -> None:
        answer = negotiate(pdu, TERMS, is_served)
        self.events.append(answer)
        if isinstance(answer, AssociateAccepted):
            assert struct.unpack_from(">BxI", answer.pdu) == (2, len(answer.pdu) - 6)
            self.peer_pdu_bytes = answer.peer_pdu_bytes
            association = Association(answer, Transfer(NO_OUTBOX, "local"), self.acceptance)
            self.messages = MessageAssembler(answer.contexts, partial(begin, association), self.delivered)

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        if self.messages is not None:
            self.messages.data_arrived(context_id, control, piece, is_whole=is_whole)

    def release_requested(self) -> None:
        self.events.append("release")

    def aborted(self) -> None:
        self.events.append("abort")

    @property
    def acceptance(self) -> Acceptance:
        """Return an acceptance that takes data sets in, and is never asked to store one."""
        store, events = MemoryObjectStore(), MemoryEventLog()
        quarantine = Quarantine(store, events, QuarantineRules(timedelta(days=1), 0, 1.0))
        limits = SpoolLimits(STORED_BYTES, STORED_BYTES, Path(tempfile.gettempdir()))
        return Acceptance(AcceptancePorts(TieredStore(store), events, NO_OUTBOX, quarantine, self.room, limits, store))

    def delivered(self, request: Request) -> None:
        if not isinstance(request, CEchoRequest | CStoreRequest):
            self.events.append("cancel")
            return
        answer = response(request.command, STORED.code, STORED.comment)
        assert parse_command(answer).field == request.command.field | 0x8000
        assert len(data_pdus(request.context_id, answer, self.peer_pdu_bytes)) >= len(answer)
        body = request.body
        self.events.append((request.context_id, request.command, body and (body.size_bytes, body.data_hash)))
        if body:
            body.close()


def outcome_of(pieces: Iterator[bytes], buffer_bytes: int) -> list[Any]:
    """Return everything that a listener is events about a stream, a violation last."""
    peer = Peer()
    reader = PduReader(peer, first_bytes=524_288, most_bytes=131_072, buffer_bytes=buffer_bytes)
    try:
        for piece in pieces:
            _feed(reader, piece)
    except Violation as violation:
        peer.events.append((violation.reason, violation.code))
    if peer.messages is not None:
        peer.messages.close()
    assert peer.room.held_bytes == 0
    return peer.events


def _feed(reader: PduReader, piece: bytes) -> None:
    while piece:
        space = reader.space()
        taken = min(len(space), len(piece))
        space[:taken] = piece[:taken]
        reader.received(taken)
        piece = piece[taken:]


def check_upper_layer(data: bytes) -> None:
    """Check that reader, negotiation and messages come to the same outcome however a stream is cut."""
    if not data:
        return
    stream = (ASSOCIATE if data[0] & 1 else b"") + data[1:]

    assert outcome_of(iter([stream]), 65_536) == outcome_of(cut(stream, data[0]), 64)


def _pduitem(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _association() -> bytes:
    contexts = b"".join(
        _pduitem(0x20, bytes((number, 0, 0, 0)) + _pduitem(0x30, abstract) + _pduitem(0x40, b"1.2.840.10008.1.2"))
        for number, abstract in ((1, CT.encode()), (3, b"1.2.840.10008.1.1"), (5, b"1.2.3.4"))
    )
    user = _pduitem(0x51, struct.pack(">I", 16384)) + _pduitem(0x52, b"1.2.3") + _pduitem(0x53, b"\0\2\0\2")
    titles = struct.pack(">HH16s16s32x", 1, 0, b"FLUORO".ljust(16), b"SENDER".ljust(16))
    body = titles + _pduitem(0x10, b"1.2.840.10008.3.1.1.1") + contexts + _pduitem(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body


ASSOCIATE = _association()
RELEASE = b"\x05\0\0\0\0\4\0\0\0\0"


def _data_pdu(*values: tuple[int, int, bytes]) -> bytes:
    body = b"".join(struct.pack(">IBB", len(data) + 2, number, control) + data for number, control, data in values)
    return struct.pack(">BxI", 4, len(body)) + body


def _command(command_field: int, sop_class: bytes, data_set_type: int) -> bytes:
    elements = (
        (0x0002, sop_class),
        (0x0100, struct.pack("<H", command_field)),
        (0x0110, b"\7\0"),
        (0x0800, struct.pack("<H", data_set_type)),
        (0x1000, b"1.2.3.4\0"),
    )
    return b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)


def upper_layer_seeds() -> list[bytes]:
    """Return associations that store, echo, cancel, release and abort."""
    store = _data_pdu((1, 3, _command(1, CT.encode() + b"\0", 1))) + _data_pdu((1, 0, b"abcd"), (1, 2, b"efgh"))
    echo = _data_pdu((3, 3, _command(0x30, b"1.2.840.10008.1.1\0", 0x101)))
    cancel = _data_pdu((1, 3, _command(0x0FFF, b"", 0x101)))
    find = _data_pdu((1, 3, _command(0x0020, CT.encode() + b"\0", 1)))
    streams = [store + echo + cancel + RELEASE, echo, find, RELEASE[:1].replace(b"\5", b"\7") + RELEASE[1:]]
    return [b"\0" + ASSOCIATE + store + RELEASE, *(b"\1" + stream for stream in streams)]
