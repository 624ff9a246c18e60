"""The PDUs read from a byte stream do not depend on its division, and a PDU that no peer may send is a violation."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

from operators.dimse.pdu import (
    BUFFER_BYTES,
    FIRST_BUFFER_BYTES,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    PduReader,
    Violation,
    abort_pdu,
    data_pdus,
)

# The reader does not look into an association request.
ASSOCIATE = struct.pack(">BxI", 1, 200) + bytes(200)
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@dataclass
class Recorder:
    """Records the PDUs that a reader finds, with the pieces of each data value joined."""

    found: list[tuple[Any, ...]] = field(default_factory=list)
    open: bytearray = field(default_factory=bytearray)

    def associate_requested(self, pdu: bytes) -> None:
        self.found.append(("associate", pdu))

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        self.open += piece
        if is_whole:
            self.found.append((context_id, control, bytes(self.open)))
            self.open.clear()

    def release_requested(self) -> None:
        self.found.append(("release",))

    def aborted(self) -> None:
        self.found.append(("abort",))


def reader(recorder: Recorder, buffer_bytes: int = 4096) -> PduReader:
    return PduReader(recorder, first_bytes=65536, most_bytes=16384, buffer_bytes=buffer_bytes)


def feed(into: PduReader, stream: bytes, cuts: Sequence[int] = ()) -> None:
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        piece = stream[start:end]
        while piece:
            space = into.space()
            taken = min(len(space), len(piece))
            space[:taken] = piece[:taken]
            into.received(taken)
            piece = piece[taken:]


def data_pdu(*values: tuple[int, int, bytes]) -> bytes:
    body = b"".join(struct.pack(">IBB", len(data) + 2, context, control) + data for context, control, data in values)
    return struct.pack(">BxI", 4, len(body)) + body


values = st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=900))
streams = st.lists(
    st.one_of(
        st.lists(values, min_size=1, max_size=4).map(lambda drawn: data_pdu(*drawn)),
        st.just(RELEASE_RQ_PDU),
    ),
    max_size=6,
)


@given(streams, st.data())
def test_any_division_of_the_stream_gives_the_same_pdus(pdus: list[bytes], data: st.DataObject) -> None:
    stream = ASSOCIATE + b"".join(pdus)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    whole, cut, bytewise = Recorder(), Recorder(), Recorder()

    feed(reader(whole, 65536), stream)
    feed(reader(cut, 64), stream, cuts)
    feed(reader(bytewise), stream, range(len(stream)))

    assert whole.found == cut.found == bytewise.found


def test_each_value_of_a_pdu_is_reported_with_context_and_control() -> None:
    recorder = Recorder()

    feed(reader(recorder), ASSOCIATE + data_pdu((1, 3, b"command"), (1, 2, b"data")) + RELEASE_RQ_PDU)

    assert recorder.found == [("associate", ASSOCIATE), (1, 3, b"command"), (1, 2, b"data"), ("release",)]


def test_an_abort_is_read_at_any_time() -> None:
    recorder = Recorder()

    feed(reader(recorder), ABORT)

    assert recorder.found == [("abort",)]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "unknown-pdu"),
        (data_pdu((1, 3, b"early")), "unexpected-pdu"),
        (struct.pack(">BxI", 1, 600_000_000), "pdu-too-long"),
        (ASSOCIATE + struct.pack(">BxI", 4, 16385), "pdu-too-long"),
        (ASSOCIATE + ASSOCIATE, "unexpected-pdu"),
        (ASSOCIATE + struct.pack(">BxI", 2, 4), "unexpected-pdu"),
        (ASSOCIATE + struct.pack(">BxI", 5, 400), "malformed-pdu"),
        (ASSOCIATE + struct.pack(">BxIIBB", 4, 8, 1, 1, 0), "malformed-pdu"),
        (ASSOCIATE + struct.pack(">BxIIBB", 4, 8, 2**31, 1, 0), "malformed-pdu"),
        (ASSOCIATE + struct.pack(">BxI3s", 4, 3, b"abc"), "malformed-pdu"),
        (ASSOCIATE + data_pdu(), "malformed-pdu"),
    ],
)
def test_a_pdu_that_no_peer_may_send_is_a_violation(stream: bytes, reason: str) -> None:
    with pytest.raises(Violation) as caught:
        feed(reader(Recorder()), stream)

    assert caught.value.reason == reason


def test_the_buffer_is_small_until_the_association_is_accepted() -> None:
    early = PduReader(Recorder(), first_bytes=524_288, most_bytes=131_072)
    before = len(early.space())
    feed(early, struct.pack(">BxI", 1, 500_000) + bytes(400_000))
    during = len(early.space())
    feed(early, bytes(100_000))
    requested = len(early.space())
    early.widen()
    feed(early, data_pdu((1, 2, b"data")))

    assert before == during == requested == FIRST_BUFFER_BYTES
    assert len(early.space()) == BUFFER_BYTES


def test_a_stopped_reader_reports_no_more_of_the_received_bytes() -> None:
    @dataclass
    class StopsAtData(Recorder):
        def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
            super().data_arrived(context_id, control, piece, is_whole=is_whole)
            stopping.stop()

    recorder = StopsAtData()
    stopping = reader(recorder)
    feed(stopping, ASSOCIATE + data_pdu((1, 2, b"first"), (1, 2, b"second")) + RELEASE_RQ_PDU)

    assert recorder.found[1:] == [(1, 2, b"first")]


@pytest.mark.parametrize(
    ("pdu", "theirs"),
    [(RELEASE_RQ_PDU, A_RELEASE_RQ), (RELEASE_RP_PDU, A_RELEASE_RP), (abort_pdu(6), A_ABORT_RQ)],
)
def test_fixed_pdus_equal_those_of_pynetdicom(pdu: bytes, theirs: Any) -> None:
    decoded = theirs()
    decoded.decode(pdu)

    assert decoded.encode() == pdu


def test_an_abort_names_the_provider_and_the_reason() -> None:
    assert abort_pdu(6) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"


@pytest.mark.parametrize("peer_pdu_bytes", [0, 16, 128, 4096, 2**20])
@pytest.mark.parametrize("kind", [1, 0], ids=["command", "data set"])
def test_a_message_is_cut_into_even_values_within_the_peers_maximum(peer_pdu_bytes: int, kind: int) -> None:
    message = bytes(range(256))

    stream = data_pdus(5, message, peer_pdu_bytes, kind)

    found = b""
    while stream:
        length = 6 + struct.unpack_from(">I", stream, 2)[0]
        pdu = P_DATA_TF()
        pdu.decode(stream[:length])
        (item,) = pdu.presentation_data_value_items
        control = item.presentation_data_value[0]
        assert peer_pdu_bytes == 0 or length - 6 <= peer_pdu_bytes
        assert len(item.presentation_data_value) % 2 == 1  # the control byte and an even number of others
        found += item.presentation_data_value[1:]
        stream = stream[length:]
        assert control & 1 == kind
        assert bool(control & 2) == (not stream)
    assert found == message
