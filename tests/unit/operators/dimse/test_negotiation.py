"""Requests are answered as pynetdicom answers them, in the requestor's order and within limits; both roles agree."""

import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context, negotiate_as_acceptor

from operators.dimse.negotiation import (
    AssociateAccepted,
    AssociateRejected,
    ProposedContext,
    Terms,
    negotiate,
    read_answer,
    reject,
    request_pdu,
)
from operators.dimse.pdu import Violation
from operators.dimse.sop_classes import is_storage, is_verification

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
RETIRED_US = "1.2.840.10008.5.1.4.1.1.6"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PRIVATE = "1.3.12.2.1107.5.9.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"

TERMS = Terms(pdu_bytes=131072, most_contexts=128, implementation_uid="2.25.1", implementation_version="TEST")


def is_served(abstract_syntax: str) -> bool:
    return is_verification(abstract_syntax) or is_storage(abstract_syntax)


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


def accepted(pdu: bytes, terms: Terms = TERMS) -> AssociateAccepted:
    answer = negotiate(pdu, terms, is_served)
    assert isinstance(answer, AssociateAccepted)
    return answer


ASSOCIATE = request((CT, [EXPLICIT]))


@given(st.binary(max_size=400), st.data())
def test_any_bytes_get_an_answer_or_are_a_violation(noise: bytes, data: st.DataObject) -> None:
    pdu = bytearray(ASSOCIATE)
    start = data.draw(st.integers(6, len(pdu)))
    pdu[start : start + len(noise)] = noise

    with suppress(Violation):
        assert isinstance(negotiate(bytes(pdu), TERMS, is_served), AssociateAccepted | AssociateRejected)


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


CT_CONTEXT = context(1, CT_SYNTAX, item(0x40, EXPLICIT.encode()))
SYNTAXES = [item(0x40, f"1.2.3.4.{number}".encode()) for number in range(65)]
ROLES = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1") * 1_950

# Requests over a limit, and the reason that the abort is counted under.
FLOODS = {
    "contexts": ([CONTEXT_NAME, *[CT_CONTEXT] * 12_000, item(0x50, LENGTH)], "too-many-items"),
    "application contexts": ([CONTEXT_NAME] * 20_000, "too-many-items"),
    "empty items": ([item(0x99, b"")] * 120_000, "too-many-items"),
    "transfer syntaxes": ([CONTEXT_NAME, context(1, CT_SYNTAX, *SYNTAXES)], "too-many-transfer-syntaxes"),
    "empty transfer syntaxes": (
        [CONTEXT_NAME, context(1, CT_SYNTAX, item(0x40, b"") * 16_000)],
        "too-many-transfer-syntaxes",
    ),
    "unknown transfer syntaxes": (
        [CONTEXT_NAME, *(context(2 * number + 1, CT_SYNTAX, *SYNTAXES[:64]) for number in range(128))],
        "too-many-unknown-syntaxes",
    ),
    "two user informations": ([CONTEXT_NAME, CT_CONTEXT, item(0x50, ROLES), item(0x50, ROLES)], "malformed-associate"),
    "two abstract syntaxes": ([CONTEXT_NAME, context(1, CT_SYNTAX, CT_SYNTAX, SYNTAXES[0])], "malformed-associate"),
    "no transfer syntax": ([CONTEXT_NAME, context(1, CT_SYNTAX)], "malformed-associate"),
    "no context name": ([CT_CONTEXT, item(0x50, LENGTH)], "malformed-associate"),
    "half a context": ([CONTEXT_NAME, item(0x20, b"\1\0")], "malformed-associate"),
    "an item beyond the end": ([CONTEXT_NAME, item(0x20, b"")[:2] + b"\xff\xff"], "malformed-associate"),
    "a length of two bytes": ([CONTEXT_NAME, CT_CONTEXT, item(0x50, item(0x51, b"\0\0"))], "malformed-associate"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_items_is_a_violation_within_100_ms(flood: str) -> None:
    items, reason = FLOODS[flood]
    pdu = raw(*items)
    began = time.process_time()
    with pytest.raises(Violation) as caught:
        negotiate(pdu, TERMS, is_served)

    assert caught.value.reason == reason
    assert time.process_time() - began < 0.1


def test_the_largest_request_allowed_is_answered_within_100_ms() -> None:
    contexts = [
        context(2 * number + 1, CT_SYNTAX, *SYNTAXES[:16], item(0x40, EXPLICIT.encode()), *SYNTAXES[18:])
        for number in range(128)
    ]
    pdu = raw(CONTEXT_NAME, *contexts, item(0x50, LENGTH + ROLES))
    began = time.process_time()

    answer = negotiate(pdu, TERMS, is_served)

    assert isinstance(answer, AssociateAccepted)
    assert time.process_time() - began < 0.1


def test_user_information_over_its_limit_is_a_violation() -> None:
    pdu = raw(CONTEXT_NAME, CT_CONTEXT, item(0x50, LENGTH + ROLES))

    with pytest.raises(Violation, match="user-information-too-long"):
        negotiate(pdu, replace(TERMS, user_information_bytes=1024), is_served)


@pytest.mark.parametrize("title", [b"", b"\0\0", b"A\nB", b"A\\B", b"\xc3\xa9"])
@pytest.mark.parametrize("place", ["called", "calling"])
def test_a_malformed_title_is_a_violation(title: bytes, place: str) -> None:
    with pytest.raises(Violation, match="malformed-associate"):
        negotiate(raw(CONTEXT_NAME, CT_CONTEXT, **{place: title}), TERMS, is_served)


def test_padding_and_unknown_items_change_nothing() -> None:
    plain = accepted(raw(CONTEXT_NAME, CT_CONTEXT, item(0x50, LENGTH)))
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

    assert replace(answer, pdu=b"") == replace(plain, pdu=b"")


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
    decoded.decode(answer.pdu)
    their_request = A_ASSOCIATE_RQ()
    their_request.decode(pdu)

    theirs = [
        negotiate_as_acceptor([asked], [build_context(asked.abstract_syntax, known(asked.transfer_syntax))])[0][0]
        if asked.abstract_syntax != STUDY_FIND
        else negotiate_as_acceptor([asked], [])[0][0]
        for asked in their_request.to_primitive().presentation_context_definition_list
    ]

    assert [(result.context_id, result.result) for result in decoded.presentation_context] == [
        (result.context_id, result.result) for result in theirs
    ]
    assert {number: context.transfer_syntax for number, context in answer.contexts.items()} == {
        result.context_id: result.transfer_syntax[0] for result in theirs if result.result == 0
    }


def known(syntaxes: Sequence[str]) -> list[str]:
    return [syntax for syntax in syntaxes if syntax != "1.2.3.4"] or [JPEG]


@pytest.mark.parametrize("order", [[JPEG, EXPLICIT, IMPLICIT], [IMPLICIT, EXPLICIT], [EXPLICIT, JPEG]])
def test_the_requestors_first_transfer_syntax_is_accepted(order: list[str]) -> None:
    answer = accepted(request((CT, order)))

    assert answer.contexts[1].transfer_syntax == order[0]


def test_contexts_of_one_class_get_their_own_transfer_syntaxes() -> None:
    answer = accepted(request((CT, [EXPLICIT, JPEG]), (CT, [JPEG, EXPLICIT])))

    assert [context.transfer_syntax for context in answer.contexts.values()] == [EXPLICIT, JPEG]


def test_storage_private_and_retired_classes_are_served_and_queries_are_not() -> None:
    proposed = [VERIFICATION, CT, RETIRED_US, PRIVATE, STUDY_FIND]

    answer = accepted(request(*((sop_class, [IMPLICIT]) for sop_class in proposed)))

    assert [context.abstract_syntax for context in answer.contexts.values()] == proposed[:4]


def test_an_unknown_transfer_syntax_is_not_accepted() -> None:
    answer = accepted(request((CT, ["1.2.3.4"]), (CT, ["1.2.3.4", EXPLICIT])))

    assert {number: context.transfer_syntax for number, context in answer.contexts.items()} == {3: EXPLICIT}


def test_128_contexts_are_accepted() -> None:
    answer = accepted(request(*((CT, [EXPLICIT, IMPLICIT]) for _ in range(128))))

    assert len(answer.contexts) == 128


def test_the_answer_names_our_longest_pdu_and_one_operation_at_a_time() -> None:
    decoded = A_ASSOCIATE_AC()

    decoded.decode(accepted(request((CT, [EXPLICIT]), window=8)).pdu)

    information = decoded.to_primitive().user_information
    window = next(entry for entry in information if isinstance(entry, AsynchronousOperationsWindowNegotiation))
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
    answer = negotiate(pdu, terms, is_served)
    rejection = A_ASSOCIATE_RJ()
    rejection.decode(answer.pdu)

    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == refused


def test_a_limit_is_a_transient_rejection() -> None:
    rejection = A_ASSOCIATE_RJ()

    rejection.decode(reject("too-many").pdu)

    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 2)


PROPOSED = [
    ProposedContext(1, VERIFICATION, (IMPLICIT.encode(),)),
    ProposedContext(3, CT, (JPEG.encode(), EXPLICIT.encode())),
    ProposedContext(5, STUDY_FIND, (IMPLICIT.encode(),)),
]


def test_pynetdicom_reads_our_request() -> None:
    decoded = A_ASSOCIATE_RQ()

    decoded.decode(request_pdu("SENDER", "ARCHIVE", PROPOSED, TERMS))

    primitive = decoded.to_primitive()
    assert (decoded.calling_ae_title, decoded.called_ae_title) == ("SENDER", "ARCHIVE")
    assert primitive.application_context_name == "1.2.840.10008.3.1.1.1"
    assert [
        (context.context_id, context.abstract_syntax, context.transfer_syntax)
        for context in primitive.presentation_context_definition_list
    ] == [(1, VERIFICATION, [IMPLICIT]), (3, CT, [JPEG, EXPLICIT]), (5, STUDY_FIND, [IMPLICIT])]
    assert decoded.user_information.maximum_length == TERMS.pdu_bytes
    assert decoded.user_information.implementation_class_uid == TERMS.implementation_uid


def test_requestor_and_acceptor_agree_on_the_association() -> None:
    answer = accepted(request_pdu("SENDER", "ARCHIVE", PROPOSED, TERMS))

    assert read_answer(answer.pdu, PROPOSED) == answer
    assert {number: context.transfer_syntax for number, context in answer.contexts.items()} == {1: IMPLICIT, 3: JPEG}


def test_an_acceptance_by_pynetdicom_is_read_with_its_contexts_and_length() -> None:
    asked = A_ASSOCIATE_RQ()
    asked.decode(request_pdu("SENDER", "ARCHIVE", PROPOSED, TERMS))
    primitive = asked.to_primitive()
    supported = [build_context(VERIFICATION, IMPLICIT), build_context(CT, EXPLICIT)]
    results, _ = negotiate_as_acceptor(primitive.presentation_context_definition_list, supported)
    primitive.presentation_context_definition_results_list = results
    primitive.result, primitive.result_source = 0, 1
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)

    answer = read_answer(pdu.encode(), PROPOSED)

    assert isinstance(answer, AssociateAccepted)
    assert {number: (found.abstract_syntax, found.transfer_syntax) for number, found in answer.contexts.items()} == {
        1: (VERIFICATION, IMPLICIT),
        3: (CT, EXPLICIT),
    }
    assert answer.peer_pdu_bytes == TERMS.pdu_bytes


def test_a_rejection_is_read_with_its_three_numbers() -> None:
    answer = read_answer(reject("called-ae").pdu, PROPOSED)

    assert isinstance(answer, AssociateRejected)
    assert answer.reason == "1-1-7"


@given(st.binary(max_size=400), st.data())
def test_any_bytes_in_an_answer_are_read_or_a_violation(noise: bytes, data: st.DataObject) -> None:
    pdu = bytearray(accepted(ASSOCIATE).pdu)
    start = data.draw(st.integers(0, len(pdu)))
    pdu[start : start + len(noise)] = noise

    with suppress(Violation):
        assert isinstance(read_answer(bytes(pdu), PROPOSED), AssociateAccepted | AssociateRejected)
