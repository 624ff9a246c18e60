"""The upper layer: any cut of a byte stream gives the same PDUs; every guard holds; the proposer's order counts."""

import struct
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
from pynetdicom.presentation import build_context

from gateway.upper_layer import (
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
    st.one_of(st.lists(values, max_size=4).map(lambda some: data_pdu(*some)), st.just(RELEASE)), max_size=6
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
        (request((CT, [EXPLICIT])), replace(TERMS, only_called="OTHER"), (1, 1, 7)),
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
