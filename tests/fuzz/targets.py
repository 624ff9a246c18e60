"""The targets of fuzzing: each is a parser of bytes from the network, as a function that checks what it promises.

The first bytes of an input choose a variant (a transfer syntax, a way to cut the rest). A target returns nothing;
anything that it raises is a finding.
"""

import random
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from gateway.dimse.messages import Messages, Request, service_of
from gateway.intake.accept import Incoming
from gateway.intake.spool import Body, Room, SpoolLimits
from gateway.intake.status import STORED
from gateway.stow import multipart
from gateway.stow.multipart import MediaType, Scanner
from operators.catalog.query import LEVELS, Query, is_like, parse
from operators.dicom.facts import MAX_TEXT_LENGTH
from operators.dicom.frames import MAX_LENGTHS_BYTES, frame_bytes, frame_range, pack, unpack
from operators.dicom.instance import Examination, data_hasher, examine
from operators.dicom.json import dicom_json, dumps
from operators.dicom.part10 import split_incoming_part10, split_part10
from operators.dicom.reasons import Reason
from operators.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.dimse.commands import parse_command, response
from operators.dimse.negotiation import AssociateAccepted, Terms, negotiate
from operators.dimse.pdu import PduReader, Violation, data_pdus
from operators.errors import BadQuery, Rejected
from operators.http.accept import choose, parse_accept
from operators.http.media_types import JSON_TYPES
from tests.support.data.elements import (
    CODE,
    ITEM_END,
    NATIVE,
    OPEN,
    SEQUENCE_END,
    SEQUENCES,
    STUDY_TO_PRIVATE,
    element,
    item,
)

JPEG = "1.2.840.10008.1.2.4.50"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, JPEG, DEFLATED)
REASONS = frozenset(reason.value for reason in Reason)
PREFIX_BYTES = 100
CORPUS_BYTES = 16 * 1024

CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class Target:
    """One parser: the check of its promises, and the inputs to begin with."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def cut(stream: bytes, seed: int) -> Iterator[bytes]:
    """Cut a stream into pieces at places that a seed determines."""
    chance = random.Random(seed)
    cuts = (chance.randrange(len(stream) + 1) for _ in range(chance.randrange(12)))
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        yield stream[start:end]


# Data sets.


def check_header(data: bytes) -> None:
    """Check that examine() rejects with a Reason, or returns texts that can be stored and frames within the object."""
    if not data:
        return
    transfer_syntax, dataset = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        examined = examine(memoryview(dataset), transfer_syntax, PREFIX_BYTES)
    except Rejected as rejected:
        _must_be(rejected, REASONS)
        return
    assert examined.header_length <= PREFIX_BYTES + len(dataset)
    assert all(is_storable(text) for text in vars(examined.facts).values() if isinstance(text, str))
    _check_frames(examined, dataset)


def is_storable(text: str) -> bool:
    """True if a text can be in an event and in the catalog."""
    return len(text) <= MAX_TEXT_LENGTH and "\0" not in text and text == text.encode().decode()


def _check_frames(examined: Examination, dataset: bytes) -> None:
    frames = examined.frames
    assert len(frames.lengths) <= MAX_LENGTHS_BYTES
    assert unpack(pack(frames)) == frames
    if frames.kind not in {"native", "encapsulated"}:
        return
    for number in {1, frames.count // 2, frames.count} & set(range(1, frames.count + 1)):
        start, end = frame_range(frames, number)
        assert examined.header_length <= start <= end <= PREFIX_BYTES + len(dataset)
        if frames.kind == "encapsulated":
            assert len(_or_reason(frame_bytes, dataset[start - PREFIX_BYTES : end - PREFIX_BYTES])) <= end - start


def _or_reason(act: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return act(data)
    except Rejected as rejected:
        _must_be(rejected, REASONS)
        return b""


def _must_be(rejected: Rejected, reasons: frozenset[str]) -> None:
    if rejected.reason not in reasons:
        raise rejected


def check_metadata(data: bytes) -> None:
    """Check that a header that examine() accepts becomes DICOM JSON or is rejected for one of two reasons."""
    if not data:
        return
    transfer_syntax, dataset = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        end = examine(dataset, transfer_syntax, 0).header_length
        dumps(dicom_json(dataset[:end], 0, transfer_syntax, ""))
    except Rejected as rejected:
        _must_be(rejected, REASONS | {"unreadable-header", "header-too-costly"})


def check_part10(data: bytes) -> None:
    """Check the promises of split_part10, and that split_incoming_part10 agrees with it however much of a file is there."""
    whole = bytes(128) + b"DICM" + data[1:] if data[:1] < b"\x80" else data[1:]
    found = _outcome(split_part10, whole)
    assert found in REASONS or len(whole) >= found.prefix_length
    assert _outcome(lambda some: split_incoming_part10(some, is_whole=True), whole) == found
    for piece in cut(whole, len(data)):
        early = _outcome(lambda some: split_incoming_part10(some, is_whole=False), whole[: len(piece)])
        assert early in (None, found)


def _outcome(act: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return act(data)
    except Rejected as rejected:
        return rejected.reason


HEADER = (
    element(0x00080005, "CS", b"ISO 2022 IR 6\\ISO 2022 IR 87 ")
    + element(0x00080016, "UI", CT.encode() + b"\0")
    + element(0x00080018, "UI", b"1.2.3.4.5\0")
    + element(0x00080020, "DA", b"20260101")
    + SEQUENCES
    + element(0x00100010, "PN", b"A^B=\x1b$B;3ED\x1b(B^C")
    + STUDY_TO_PRIVATE
    + element(0x00291010, "UN", item(CODE + ITEM_END, OPEN) + SEQUENCE_END, OPEN)
    + element(0x00291012, "SQ", item(CODE * 3) * 2)
)
FRAGMENTS = item(b"\0\0\0\0\x0c\0\0\0") + item(b"ab\xff\xd9") * 3 + SEQUENCE_END
ENCAPSULATED = element(0x7FE00010, "OB", FRAGMENTS, OPEN)


def header_seeds() -> list[bytes]:
    """Return data sets with elements of every kind, in each transfer syntax, and small real ones where there are any."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bodies = {0: HEADER + NATIVE, 3: HEADER + ENCAPSULATED, 4: deflate.compress(HEADER + NATIVE) + deflate.flush()}
    implicit = struct.pack("<HHI", 8, 0x18, 4) + b"1.2\0" + struct.pack("<HHI", 0x40, 0xA730, OPEN) + FRAGMENTS[-8:]
    big = struct.pack(">HH2sH", 8, 0x18, b"UI", 4) + b"1.2\0"
    made = [bytes([choice]) + body for choice, body in (bodies | {1: implicit, 2: big}).items()]
    return made + [bytes([SYNTAXES.index(syntax)]) + data for syntax, data in _real() if syntax in SYNTAXES]


def part10_seeds() -> list[bytes]:
    """Return well formed and malformed file metas."""
    syntax = element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    version = element(0x00020001, "OB", b"\0\1")
    length = element(0x00020000, "UL", struct.pack("<I", len(version + syntax)))
    return [b"\0" + length + version + syntax + HEADER[:40], b"\0" + syntax, b"\xff" + bytes(128) + b"DICM" + syntax]


def _real() -> Iterator[tuple[str, bytes]]:
    """Yield transfer syntax and data set of small files of the corpus, where there is one."""
    folder = Path(__file__).parents[2] / "../shared/corpus/synthetic"
    for path in sorted(folder.rglob("*.dcm")) if folder.is_dir() else ():
        if path.stat().st_size <= CORPUS_BYTES:
            whole = path.read_bytes()
            found = _outcome(split_part10, whole)
            if not isinstance(found, str):
                yield found.transfer_syntax, whole[found.prefix_length :]


# The upper layer.

TERMS = Terms(pdu_bytes=16384, most_contexts=128, implementation_uid="2.25.1", implementation_version="TEST")
STORED_BYTES = 64 * 1024


@dataclass
class Peer:
    """The listener of an association: it records what it is events, in order, with the pieces of data joined."""

    room: Room = field(default_factory=lambda: Room(2**20))
    events: list[Any] = field(default_factory=list)
    messages: Messages | None = None
    peer_pdu_bytes: int = 0

    def associate_requested(self, pdu: bytes) -> None:
        answer = negotiate(pdu, TERMS, lambda abstract_syntax: service_of(abstract_syntax) is not None)
        self.events.append(answer)
        if isinstance(answer, AssociateAccepted):
            assert struct.unpack_from(">BxI", answer.pdu) == (2, len(answer.pdu) - 6)
            self.peer_pdu_bytes = answer.peer_pdu_bytes
            self.messages = Messages(answer.contexts, self.arrive, self.delivered)

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        if self.messages is not None:
            self.messages.data_arrived(context_id, control, piece, is_whole=is_whole)

    def release_requested(self) -> None:
        self.events.append("release")

    def aborted(self) -> None:
        self.events.append("abort")

    def arrive(self, sop_class: str, sop_uid: str, transfer_syntax: str) -> Incoming:
        bounds = SpoolLimits(STORED_BYTES, STORED_BYTES, Path(tempfile.gettempdir()))
        body = Body(b"", data_hasher(transfer_syntax), self.room, bounds)
        return Incoming(sop_class, sop_uid, transfer_syntax, b"", body)

    def delivered(self, request: Request) -> None:
        answer = response(request.command, STORED.code, STORED.comment)
        assert parse_command(answer).field == request.command.field | 0x8000
        assert len(data_pdus(request.context_id, answer, self.peer_pdu_bytes)) >= len(answer)
        body = request.arrival.body if request.arrival else None
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
        peer.messages.drop()
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


# STOW.

LIMITS = multipart.MultipartLimits(parts=20, headers=8, header_bytes=256, outside_bytes=64)


def parts(pieces: Iterator[bytes]) -> list[Any]:
    """Return the complete parts of a body, and the reason why there are no more."""
    found: list[Any] = []
    content = bytearray()
    scanner = Scanner("B", LIMITS)
    try:
        for one in (one for piece in pieces for one in scanner.feed(piece)):
            if isinstance(one, memoryview):
                content += one
            else:
                found.append((one, bytes(content)))
                content.clear()
        scanner.finish()
    except Rejected as rejected:
        if not rejected.reason.startswith("multipart-"):
            raise
        found.append(rejected.reason)
    return found


def check_multipart(data: bytes) -> None:
    """Check that a body has the same parts however it is cut, and that a malformed media type is rejected."""
    if not data:
        return
    body = data[1:]
    whole, pieces, bytewise = (
        parts(some) for some in (iter([body]), cut(body, data[0]), (body[at : at + 1] for at in range(len(body))))
    )
    assert whole == pieces == bytewise
    text = body[:200].decode("latin-1")
    kind = _outcome(lambda _: MediaType.of(text), b"")
    assert isinstance(kind, MediaType) or kind == "multipart-media-type"


def multipart_seeds() -> list[bytes]:
    """Return multipart bodies, and a Content-Type."""
    part = b"--B\r\nContent-Type: application/dicom\r\nA: b\r\n c\r\n\r\nabc\r\n-\r\n--\r\n"
    return [
        b"\1" + part + part + b"--B--\r\n",
        b"\2preamble\r\n--B \t\r\n\r\n\r\n--B\r\n\r\n--B--",
        b'\3multipart/related; type="application/dicom"; boundary=B; a="b\\"c"',
    ]


# Searches.


def check_query(data: bytes) -> None:
    """Check that search parameters become a query or raise BadQuery."""
    text = data.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True)
    for level in LEVELS:
        try:
            _check_matches(parse(pairs, level), text)
        except BadQuery as bad:
            # The text goes to the client: it must not repeat bytes of the request.
            assert str(bad).isprintable()  # noqa: PT017 - the wording is free


def _check_matches(query: Query, text: str) -> None:
    assert 0 <= query.limit <= 1000
    assert query.offset >= 0
    for warning in query.warnings:
        assert warning.isascii()
        assert warning.isprintable()
    for match in query.matches:
        if match.operator == "like":
            assert all(is_like(text[:200], str(pattern)) in (True, False) for pattern in match.values)


def query_seeds() -> list[bytes]:
    """Return searches with every kind of key."""
    return [
        b"PatientName=M%C3%BCl*&00100020=1?2&StudyDate=20250101-20251231&StudyTime=10-1130&limit=5&offset=2",
        b"StudyInstanceUID=1.2,3.4&ModalitiesInStudy=CT\\MR&includefield=all&fuzzymatching=true&Rows=512",
        b"SOPClassUID=1.2&includefield=00100010,StudyDate&emptyvaluematching=true&StudyDescription=%22%22&x.y=1",
        b"00400275.00400007=a*&PerformedProcedureStepStartTime=235960.1&StudyTime=-10",
    ]


# Accept headers.

PUMPED_CHARACTERS = 32 * 1024


def check_accept(data: bytes) -> None:
    """Check that an Accept header becomes media ranges, best first, and takes no more time when it is repeated."""
    text = data.decode("latin-1")
    for said in (text, text * (PUMPED_CHARACTERS // max(len(text), 1))):
        ranges = parse_accept(said)
        weights = [one.weight for one in ranges]
        assert weights == sorted(weights, reverse=True)
        assert all(0 < weight <= 1 for weight in weights)
        assert choose(ranges, JSON_TYPES) in (None, *JSON_TYPES)


def accept_seeds() -> list[bytes]:
    """Return well formed and malformed lists of media ranges."""
    return [
        b'multipart/related; type="application/octet-stream"; transfer-syntax=*; q=0.5, image/jpeg, */*;q=0.1, ',
        b"application/dicom+json;q=0, */*, ",
        b'\\"',
        b'a/b; c="\\"; d=e ;',
    ]


TARGETS = {
    "header": Target(check_header, header_seeds),
    "metadata": Target(check_metadata, header_seeds),
    "part10": Target(check_part10, part10_seeds),
    "upper_layer": Target(check_upper_layer, upper_layer_seeds),
    "multipart": Target(check_multipart, multipart_seeds),
    "query": Target(check_query, query_seeds),
    "accept": Target(check_accept, accept_seeds),
}
FOLDER = Path(__file__).parent / "corpus"


def former_findings(name: str) -> list[bytes]:
    """Return the inputs of a target that once were findings."""
    return [path.read_bytes() for path in sorted((FOLDER / name).glob("*"))]
