"""The log says what a refused association asked for: bounded and escaped, whatever bytes came."""

import pytest

from gateway.dimse.peers import Peer
from gateway.dimse.refusals import is_without_use, proposals, titles
from gateway.dimse.services.table import is_served
from operators.dimse.negotiation import AssociateAccepted, ProposedContext, Terms, negotiate, request_pdu

ECHO = "1.2.840.10008.1.1"
CT, FIND, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1", b"1.2.840.10008.1.2.1"
TERMS = Terms(16384, 128, "1.2.3", "TEST")
ECHO_ONLY = Peer("checker", "*", (), "local", frozenset({"echo"}))
STORES = Peer("ct", "*", (), "local", frozenset({"echo", "store"}))


def request(*contexts: ProposedContext) -> bytes:
    return request_pdu("CT1", "FLUORO", contexts, TERMS)


def context(abstract_syntax: str, *syntaxes: bytes, number: int = 1) -> ProposedContext:
    return ProposedContext(number, abstract_syntax, syntaxes or (EXPLICIT,))


def test_both_titles_are_named_without_their_padding() -> None:
    assert titles(request(context(CT))) == {"called_ae": "FLUORO", "calling_ae": "CT1"}


def test_a_title_of_any_bytes_is_escaped_and_short() -> None:
    pdu = bytearray(request(context(CT)))
    pdu[10:26], pdu[26:42] = b"\n\x1b[31m\xff\0\\" + b"x" * 7, b"\xff" * 16

    found = titles(bytes(pdu))

    assert found["called_ae"] == r"\n\x1b[31m\xff\x00\\xxxxxxx"
    assert all(title.isascii() and title.isprintable() and len(title) <= 64 for title in found.values())


def test_a_request_that_is_too_short_has_no_titles_and_no_proposals() -> None:
    assert titles(b"\1\0\0\0\0\4abcd") == {}
    assert proposals(b"\1\0\0\0\0\4abcd", TERMS, None) == {}


def test_each_context_says_why_it_cannot_be_used() -> None:
    pdu = request(context(FIND), context(CT, number=3), context(CT, b"1.2.3.4", b"1.2.3.5", number=5))

    assert proposals(pdu, TERMS, STORES)["proposed"] == [
        "StudyRootQueryRetrieveInformationModelFind in ExplicitVRLittleEndian: no service for this class",
        "CTImageStorage in ExplicitVRLittleEndian: acceptable",
        "CTImageStorage in 1.2.3.4, 1.2.3.5: no known transfer syntax",
    ]
    assert proposals(pdu, TERMS, ECHO_ONLY)["proposed"][1].endswith(": not allowed to this peer")


def test_a_caller_that_is_no_peer_has_its_proposals_named_without_a_reason() -> None:
    assert proposals(request(context(CT)), TERMS, None)["proposed"] == ["CTImageStorage in ExplicitVRLittleEndian"]


def test_only_the_first_contexts_and_syntaxes_are_named_and_the_others_counted() -> None:
    many = [context(CT, *(b"1.2.%d" % each for each in range(9)), number=2 * place + 1) for place in range(20)]

    found = proposals(request(*many), TERMS, None)

    assert found["contexts"] == 20
    assert found["proposed"] == ["CTImageStorage in 1.2.0, 1.2.1, 1.2.2, 1.2.3, 5 more"] * 8


def test_what_is_no_uid_is_not_repeated() -> None:
    found = proposals(request(context("DOE^JOHN", b"DOE^JANE")), TERMS, STORES)

    assert found["proposed"] == ["no UID in no UID: no service for this class"]


@pytest.mark.parametrize(
    ("peer", "proposed", "is_refused"),
    [
        (STORES, [ECHO, CT], False),
        (STORES, [ECHO], False),
        (ECHO_ONLY, [ECHO], False),
        (STORES, [FIND, CT], False),
        (STORES, [FIND], True),
        (STORES, [ECHO, FIND], True),
        (ECHO_ONLY, [CT, ECHO], True),
        (ECHO_ONLY, [CT], True),
    ],
)
def test_an_association_is_without_use_if_all_but_echo_was_refused(
    peer: Peer, proposed: list[str], *, is_refused: bool
) -> None:
    pdu = request(*(context(uid, number=2 * place + 1) for place, uid in enumerate(proposed)))
    agreed = negotiate(pdu, TERMS, lambda uid: is_served(uid, peer.services))

    assert isinstance(agreed, AssociateAccepted)
    assert is_without_use(pdu, agreed, TERMS) == is_refused


def test_an_association_is_without_use_if_the_syntax_of_its_only_context_for_echo_is_unknown() -> None:
    pdu = request(context(ECHO, b"1.2.3.4"))
    agreed = negotiate(pdu, TERMS, is_served)

    assert isinstance(agreed, AssociateAccepted)
    assert is_without_use(pdu, agreed, TERMS)
