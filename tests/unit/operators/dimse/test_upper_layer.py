"""The upper layer: any cut of a byte stream gives the same PDUs; every guard holds; the proposer's order counts."""

import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context, negotiate_as_acceptor

from operators.dimse.upper_layer import (
    FIRST_BUFFER_BYTES,
    Accepted,
    Reader,
    Refused,
    Terms,
    Violation,
    abort_pdu,
    data_pdus,
    is_storage,
    negotiate,
    refuse,
)

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
RETIRED_US = "1.2.840.10008.5.1.4.1.1.6"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PRIVATE = "1.3.12.2.1107.5.9.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"

TERMS = Terms(pdu_bytes=131072, most_contexts=128, implementation_uid="2.25.1", implementation_version="TEST")
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@dataclass
class Heard:
    """What a reader told, with the pieces of each data value joined."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    open: bytearray = field(default_factory=bytearray)

    def associate_requested(self, pdu: bytes) -> None:
        self.messages.append(("associate", pdu))

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        self.open += piece
        if is_whole:
            self.messages.append((context_id, control, bytes(self.open)))
            self.open.clear()

    def release_requested(self) -> None:
        self.messages.append(("release",))

    def aborted(self) -> None:
        self.messages.append(("abort",))


def reader(heard: Heard, buffer_bytes: int = 4096) -> Reader:
    return Reader(heard, first_bytes=65536, most_bytes=16384, buffer_bytes=buffer_bytes)


def feed(into: Reader, stream: bytes, cuts: Sequence[int] = ()) -> None:
    bounds = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(bounds):
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


def request(*contexts: tuple[str, Sequence[str]], window: int | None = None, **changes: Any) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.calling_ae_title = "SENDER"
    primitive.called_ae_title = "FLUORO"
    primitive.application_context_name = changes.get("application_context", "1.2.840.10008.3.1.1.1")
    for number, (abstract, syntaxes) in enumerate(contexts):
        context = build_context(abstract, list(syntaxes))
        context.context_id = 2 * number + 1
        primitive.presentation_context_definition_list += [context]
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    if window is not None:
        asynchronous = AsynchronousOperationsWindowNegotiation()
        asynchronous.maximum_number_operations_invoked = window
        primitive.user_information.append(asynchronous)
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def accepted(pdu: bytes, terms: Terms = TERMS) -> Accepted:
    answer = negotiate(pdu, terms)
    assert isinstance(answer, Accepted)
    return answer


values = st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=900))
streams = st.lists(
    st.one_of(st.lists(values, min_size=1, max_size=4).map(lambda some: data_pdu(*some)), st.just(RELEASE)), max_size=6
)


@given(streams, st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(pdus: list[bytes], data: st.DataObject) -> None:
    stream = request((VERIFICATION, [IMPLICIT])) + b"".join(pdus)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    whole, cut, bytewise = Heard(), Heard(), Heard()

    feed(reader(whole, 65536), stream)
    feed(reader(cut, 64), stream, cuts)
    feed(reader(bytewise), stream, range(len(stream)))

    assert whole.messages == cut.messages == bytewise.messages


def test_values_of_a_pdu_come_with_context_and_control() -> None:
    heard = Heard()

    feed(reader(heard), request((CT, [EXPLICIT])) + data_pdu((1, 3, b"command"), (1, 2, b"data")) + RELEASE)

    assert heard.messages[1:] == [(1, 3, b"command"), (1, 2, b"data"), ("release",)]


def test_an_abort_is_heard_at_any_time() -> None:
    heard = Heard()

    feed(reader(heard), ABORT)

    assert heard.messages == [("abort",)]


ASSOCIATE = request((CT, [EXPLICIT]))


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
def test_what_no_peer_may_send_is_a_violation(stream: bytes, reason: str) -> None:
    with pytest.raises(Violation) as caught:
        feed(reader(Heard()), stream)

    assert caught.value.reason == reason


@given(st.binary(max_size=400), st.data())
def test_no_bytes_break_the_negotiation_but_by_violation(noise: bytes, data: st.DataObject) -> None:
    pdu = bytearray(ASSOCIATE)
    start = data.draw(st.integers(6, len(pdu)))
    pdu[start : start + len(noise)] = noise

    with suppress(Violation):
        assert isinstance(negotiate(bytes(pdu), TERMS), Accepted | Refused)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


CONTEXT_NAME = item(0x10, b"1.2.840.10008.3.1.1.1")
LENGTH = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")
CT_SYNTAX = item(0x30, CT.encode())


def context(number: int, *items: bytes) -> bytes:
    return item(0x20, bytes((number, 0, 0, 0)) + b"".join(items))


def raw(*items: bytes, called: bytes = b"FLUORO", calling: bytes = b"SENDER") -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16)) + b"".join(items)
    return struct.pack(">BxI", 1, len(body)) + body


ONE = context(1, CT_SYNTAX, item(0x40, EXPLICIT.encode()))
SYNTAXES = [item(0x40, f"1.2.3.4.{number}".encode()) for number in range(65)]
ROLES = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1") * 1_950

# What is over a limit, and what the abort is counted as.
FLOODS = {
    "contexts": ([CONTEXT_NAME, *[ONE] * 12_000, item(0x50, LENGTH)], "too-many-items"),
    "application contexts": ([CONTEXT_NAME] * 20_000, "too-many-items"),
    "empty items": ([item(0x99, b"")] * 120_000, "too-many-items"),
    "transfer syntaxes": ([CONTEXT_NAME, context(1, CT_SYNTAX, *SYNTAXES)], "too-many-transfer-syntaxes"),
    "empty transfer syntaxes": (
        [CONTEXT_NAME, context(1, CT_SYNTAX, item(0x40, b"") * 16_000)],
        "too-many-transfer-syntaxes",
    ),
    "transfer syntaxes that nobody knows": (
        [CONTEXT_NAME, *(context(2 * number + 1, CT_SYNTAX, *SYNTAXES[:64]) for number in range(128))],
        "too-many-unknown-syntaxes",
    ),
    "two user informations": ([CONTEXT_NAME, ONE, item(0x50, ROLES), item(0x50, ROLES)], "malformed-associate"),
    "two abstract syntaxes": ([CONTEXT_NAME, context(1, CT_SYNTAX, CT_SYNTAX, SYNTAXES[0])], "malformed-associate"),
    "no transfer syntax": ([CONTEXT_NAME, context(1, CT_SYNTAX)], "malformed-associate"),
    "no context name": ([ONE, item(0x50, LENGTH)], "malformed-associate"),
    "half a context": ([CONTEXT_NAME, item(0x20, b"\1\0")], "malformed-associate"),
    "an item beyond the end": ([CONTEXT_NAME, item(0x20, b"")[:2] + b"\xff\xff"], "malformed-associate"),
    "a length of two bytes": ([CONTEXT_NAME, ONE, item(0x50, item(0x51, b"\0\0"))], "malformed-associate"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_items_is_a_violation_within_100_ms(flood: str) -> None:
    items, reason = FLOODS[flood]
    pdu = raw(*items)
    began = time.process_time()
    with pytest.raises(Violation) as caught:
        negotiate(pdu, TERMS)

    assert caught.value.reason == reason
    assert time.process_time() - began < 0.1


def test_as_much_as_may_be_asked_is_answered_within_100_ms() -> None:
    contexts = [
        context(2 * number + 1, CT_SYNTAX, *SYNTAXES[:16], item(0x40, EXPLICIT.encode()), *SYNTAXES[18:])
        for number in range(128)
    ]
    pdu = raw(CONTEXT_NAME, *contexts, item(0x50, LENGTH + ROLES))
    began = time.process_time()

    answer = negotiate(pdu, TERMS)

    assert isinstance(answer, Accepted)
    assert time.process_time() - began < 0.1


def test_user_information_has_a_limit() -> None:
    pdu = raw(CONTEXT_NAME, ONE, item(0x50, LENGTH + ROLES))

    with pytest.raises(Violation, match="user-information-too-long"):
        negotiate(pdu, replace(TERMS, user_information_bytes=1024))


@pytest.mark.parametrize("title", [b"", b"\0\0", b"A\nB", b"A\\B", b"\xc3\xa9"])
@pytest.mark.parametrize("place", ["called", "calling"])
def test_what_is_no_title_is_a_violation(title: bytes, place: str) -> None:
    with pytest.raises(Violation, match="malformed-associate"):
        negotiate(raw(CONTEXT_NAME, ONE, **{place: title}), TERMS)


def test_padding_and_items_that_nobody_knows_change_nothing() -> None:
    plain = accepted(raw(CONTEXT_NAME, ONE, item(0x50, LENGTH)))
    padded = context(1, item(0x99, b"?"), item(0x30, CT.encode() + b"\0"), item(0x40, EXPLICIT.encode() + b"\0"))
    odd = raw(
        item(0x99, b""),
        CONTEXT_NAME,
        padded,
        item(0x50, item(0x60, b"?") + LENGTH),
        called=b"FLUORO\0",
        calling=b" SENDER",
    )

    answer = accepted(odd)

    assert replace(answer, reply=b"") == replace(plain, reply=b"")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([VERIFICATION, CT, RETIRED_US, PRIVATE, STUDY_FIND]),
            st.lists(st.sampled_from([IMPLICIT, EXPLICIT, JPEG, "1.2.3.4"]), min_size=1, max_size=4, unique=True),
        ),
        min_size=1,
        max_size=128,
    )
)
def test_contexts_are_chosen_and_answered_as_pynetdicom_does(proposed: list[tuple[str, list[str]]]) -> None:
    pdu = request(*proposed)
    answer, decoded = accepted(pdu), A_ASSOCIATE_AC()
    decoded.decode(answer.reply)
    asked = A_ASSOCIATE_RQ()
    asked.decode(pdu)

    theirs = [
        negotiate_as_acceptor([one], [build_context(one.abstract_syntax, known(one.transfer_syntax))])[0][0]
        if one.abstract_syntax != STUDY_FIND
        else negotiate_as_acceptor([one], [])[0][0]
        for one in asked.to_primitive().presentation_context_definition_list
    ]

    assert [(one.context_id, one.result) for one in decoded.presentation_context] == [
        (one.context_id, one.result) for one in theirs
    ]
    assert {number: one.transfer_syntax for number, one in answer.contexts.items()} == {
        one.context_id: one.transfer_syntax[0] for one in theirs if one.result == 0
    }


def known(syntaxes: Sequence[str]) -> list[str]:
    return [one for one in syntaxes if one != "1.2.3.4"] or [JPEG]


def test_a_stranger_gets_a_small_buffer_until_it_is_accepted() -> None:
    stranger = Reader(Heard(), first_bytes=524_288, most_bytes=131_072)
    before = len(stranger.space())
    feed(stranger, struct.pack(">BxI", 1, 500_000) + bytes(400_000))
    during = len(stranger.space())
    feed(stranger, bytes(100_000))
    asked = len(stranger.space())
    stranger.widen()
    feed(stranger, data_pdu((1, 2, b"data")))

    assert before == during == asked == FIRST_BUFFER_BYTES
    assert len(stranger.space()) == 256 * 1024


def test_a_reader_that_is_stopped_tells_nothing_more_of_what_it_has() -> None:
    @dataclass
    class Once(Heard):
        def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
            super().data_arrived(context_id, control, piece, is_whole=is_whole)
            stopping.stop()

    heard = Once()
    stopping = reader(heard)
    feed(stopping, ASSOCIATE + data_pdu((1, 2, b"first"), (1, 2, b"second")) + RELEASE)

    assert heard.messages[1:] == [(1, 2, b"first")]


@pytest.mark.parametrize("order", [[JPEG, EXPLICIT, IMPLICIT], [IMPLICIT, EXPLICIT], [EXPLICIT, JPEG]])
def test_the_proposers_first_transfer_syntax_is_taken(order: list[str]) -> None:
    answer = accepted(request((CT, order)))

    assert answer.contexts[1].transfer_syntax == order[0]


def test_each_context_of_one_class_has_its_own_choice() -> None:
    answer = accepted(request((CT, [EXPLICIT, JPEG]), (CT, [JPEG, EXPLICIT])))

    assert [context.transfer_syntax for context in answer.contexts.values()] == [EXPLICIT, JPEG]


def test_storage_private_and_retired_classes_are_served_and_queries_are_not() -> None:
    proposed = [VERIFICATION, CT, RETIRED_US, PRIVATE, STUDY_FIND]

    answer = accepted(request(*((one, [IMPLICIT]) for one in proposed)))

    assert [one.abstract_syntax for one in answer.contexts.values()] == proposed[:4]


def test_an_unknown_transfer_syntax_is_not_accepted() -> None:
    answer = accepted(request((CT, ["1.2.3.4"]), (CT, ["1.2.3.4", EXPLICIT])))

    assert {number: one.transfer_syntax for number, one in answer.contexts.items()} == {3: EXPLICIT}


def test_128_contexts_are_accepted() -> None:
    answer = accepted(request(*((CT, [EXPLICIT, IMPLICIT]) for _ in range(128))))

    assert len(answer.contexts) == 128


def test_the_answer_says_our_length_and_one_operation_at_a_time() -> None:
    decoded = A_ASSOCIATE_AC()

    decoded.decode(accepted(request((CT, [EXPLICIT]), window=8)).reply)

    information = decoded.to_primitive().user_information
    window = next(one for one in information if isinstance(one, AsynchronousOperationsWindowNegotiation))
    assert decoded.user_information.maximum_length == TERMS.pdu_bytes
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (1, 1)


@pytest.mark.parametrize(
    ("pdu", "terms", "refused"),
    [
        (request((CT, [EXPLICIT]), application_context="1.2.3"), TERMS, (1, 1, 2)),
        (request((CT, [EXPLICIT]), (CT, [IMPLICIT])), replace(TERMS, most_contexts=1), (1, 1, 1)),
    ],
)
def test_a_request_that_does_not_fit_is_rejected_with_its_reason(
    pdu: bytes, terms: Terms, refused: tuple[int, int, int]
) -> None:
    answer = negotiate(pdu, terms)
    rejection = A_ASSOCIATE_RJ()
    rejection.decode(answer.reply)

    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == refused


def test_a_limit_is_a_transient_rejection() -> None:
    rejection = A_ASSOCIATE_RJ()

    rejection.decode(refuse("too-many").reply)

    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 2)


def test_an_abort_names_the_provider_and_the_reason() -> None:
    assert abort_pdu(6) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"


@pytest.mark.parametrize("peer_pdu_bytes", [0, 16, 128, 4096, 2**20])
def test_answers_keep_to_the_peers_maximum_in_even_values(peer_pdu_bytes: int) -> None:
    command = bytes(range(256))

    stream = data_pdus(5, command, peer_pdu_bytes)

    found = b""
    while stream:
        length = 6 + struct.unpack_from(">I", stream, 2)[0]
        pdu = P_DATA_TF()
        pdu.decode(stream[:length])
        (item,) = pdu.presentation_data_value_items
        assert peer_pdu_bytes == 0 or length - 6 <= peer_pdu_bytes
        assert len(item.presentation_data_value) % 2 == 1  # the control byte and an even number of others
        found += item.presentation_data_value[1:]
        is_last = bool(item.presentation_data_value[0] & 2)
        stream = stream[length:]
        assert is_last == (not stream)
    assert found == command


def test_a_word_is_no_storage_class() -> None:
    assert not is_storage("storage")
