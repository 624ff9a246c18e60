"""Each caller is recognised as a peer, and may do what that peer may do."""

import struct
from contextlib import ExitStack
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from structlog.testing import capture_logs

from operators.dimse.pdu import RELEASE_RP_PDU
from schemas.events import TransferEnded
from schemas.telemetry import GATEWAY_ASSOCIATED, GATEWAY_PEERS_READ
from schemas.topics import TRANSFER_ENDED
from tests.integration.gateway.conftest import ALLOWED, STRANGER
from tests.support.worlds.gateway import GatewaySections
from tests.support.worlds.intake import CT
from tests.support.worlds.running_gateway import (
    answer_to,
    associate_pdu,
    associate_request,
    connected,
    next_pdu,
    pipelined,
    running,
    wait_for,
)

# Calling AE, called AE, source: the rejection, or the results of the contexts for CT and Verification.
MATRIX = [
    ("CT1", "FLUORO", "127.0.0.1", (0, 0)),
    ("CT1", "OTHER", "127.0.0.1", (1, 1, 7)),
    ("CT1", "FLUORO", "127.0.0.2", (1, 1, 3)),
    ("ct1", "FLUORO", "127.0.0.1", (1, 1, 3)),
    ("CHECKER", "FLUORO", "127.0.0.2", (3, 0)),
    ("CHECKER", "OTHER", "127.0.0.1", (3, 0)),
    ("NOBODY", "FLUORO", "127.0.0.1", (1, 1, 3)),
    ("CT1", "FLUORO", STRANGER, (1, 1, 3)),
    ("CHECKER", "FLUORO", STRANGER, (1, 1, 3)),
]


def test_every_caller_is_answered_with_the_services_of_its_peer(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        received = [
            answer_to(gateway.port, associate_request(calling, called), source) for calling, called, source, _ in MATRIX
        ]
        wait_for(lambda: not gateway.door.connections)

    assert received == [expected for *_, expected in MATRIX]


def test_a_request_from_an_address_without_a_peer_is_not_read(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        received = answer_to(gateway.port, struct.pack(">BxI", 1, 100_000) + b"\xff" * 100_000, STRANGER)

    assert received == (1, 1, 3)


def test_the_log_of_a_refused_association_says_who_asked_for_what(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, capture_logs() as lines:
        answer_to(gateway.port, associate_request("NOBODY", "FLUORO"))
        answer_to(gateway.port, associate_request("CT1", "OTHER"))
        answer_to(gateway.port, associate_request("CT1", "FLUORO"), STRANGER)

    refused = [line for line in lines if line["event"] == "association_refused"]
    assert [(one["reason"], one["address"], one["calling_ae"], one["called_ae"]) for one in refused] == [
        ("calling-ae", "127.0.0.1", "NOBODY", "FLUORO"),
        ("called-ae", "127.0.0.1", "CT1", "OTHER"),
        ("address", STRANGER, "CT1", "FLUORO"),
    ]
    proposed = ["CTImageStorage in ExplicitVRLittleEndian", "Verification in ExplicitVRLittleEndian"]
    assert [one.get("proposed") for one in refused] == [proposed, proposed, None]


def test_the_log_of_an_association_without_a_context_says_why_each_was_refused(allowed: GatewaySections) -> None:
    images = associate_pdu("CHECKER", contexts=[build_context(CT, ExplicitVRLittleEndian)])
    with running(allowed) as gateway, capture_logs() as lines:
        assert answer_to(gateway.port, images) == (3,)

    (line,) = (line for line in lines if line["event"] == "contexts_refused")
    assert (line["peer"], line["calling_ae"], line["called_ae"]) == ("checker", "CHECKER", "FLUORO")
    assert line["proposed"] == ["CTImageStorage in ExplicitVRLittleEndian: not allowed to this peer"]


def test_an_association_that_may_only_echo_though_it_asked_for_more_is_logged_and_counted_apart(
    allowed: GatewaySections,
) -> None:
    counted = {outcome: GATEWAY_ASSOCIATED.labels(outcome) for outcome in ("accepted", "contexts-refused")}
    before = {outcome: counter._value.get() for outcome, counter in counted.items()}
    with running(allowed) as gateway, capture_logs() as lines:
        assert answer_to(gateway.port, associate_request("CHECKER")) == (3, 0)
        assert answer_to(gateway.port, associate_request("CT1")) == (0, 0)

    (line,) = (line for line in lines if line["event"] == "contexts_refused")
    assert line["proposed"] == [
        "CTImageStorage in ExplicitVRLittleEndian: not allowed to this peer",
        "Verification in ExplicitVRLittleEndian: acceptable",
    ]
    assert {outcome: counter._value.get() - before[outcome] for outcome, counter in counted.items()} == {
        "accepted": 1,
        "contexts-refused": 1,
    }


def test_a_peer_stores_for_its_own_tenant(allowed: GatewaySections) -> None:
    with running(allowed) as gateway:
        with connected(gateway.port, associate_pdu("CT1") + pipelined(range(1, 2))) as connection:
            while next_pdu(connection) != RELEASE_RP_PDU:
                pass

        assert [event.tenant for event in gateway.stored] == ["clinic"]
        wait_for(lambda: gateway.ended == [("well", 1)])
        (end,) = gateway.events.events(TRANSFER_ENDED)
        size_bytes = sum(map(len, gateway.objects()))

    assert isinstance(end, TransferEnded)
    assert (end.peer, end.calling_ae, end.called_ae, end.address) == ("ct1", "CT1", "FLUORO", "127.0.0.1")
    assert (end.size_bytes, end.refused) == (size_bytes, {})


def test_a_command_of_a_service_that_the_peer_may_not_use_is_aborted(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, connected(gateway.port, associate_request("CHECKER")) as connection:
        assert next_pdu(connection)[0] == 2
        connection.sendall(pipelined(range(1, 2)))

        assert next_pdu(connection)[0] == 7
        assert gateway.objects() == []


def test_a_peer_has_its_own_limit_and_others_have_theirs(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, ExitStack() as kept:
        for _ in range(2):
            assert next_pdu(kept.enter_context(connected(gateway.port, associate_request())))[0] == 2

        assert answer_to(gateway.port, associate_request()) == (2, 3, 2)
        assert answer_to(gateway.port, associate_request("CHECKER")) == (3, 0)


def test_a_peer_has_its_own_idle_time(allowed: GatewaySections) -> None:
    with running(allowed) as gateway, connected(gateway.port, associate_request()) as other:
        assert next_pdu(other)[0] == 2
        with connected(gateway.port, associate_request("CHECKER")) as idle:
            assert [next_pdu(idle)[0], next_pdu(idle)[0]] == [2, 7]

        wait_for(lambda: gateway.door.associated == 1)


def test_a_changed_peers_file_applies_to_new_associations_only(allowed: GatewaySections) -> None:
    path = Path(allowed.dimse.peers_file)
    with running(allowed) as gateway, connected(gateway.port, associate_pdu("CT1")) as before:
        assert next_pdu(before)[0] == 2
        for content in ("[[peer", f"peer = {'9' * 5000}", ALLOWED.replace('"CT1"', '"CT2"')):
            path.with_suffix(".new").write_text(content)
            path.with_suffix(".new").replace(path)
            read = GATEWAY_PEERS_READ.labels("in-force" if content.startswith(ALLOWED[:8]) else "refused")
            count = read._value.get()
            assert answer_to(gateway.port, associate_request()) == (0, 0)
            wait_for(lambda read=read, count=count: read._value.get() > count)  # type: ignore[misc]

        assert answer_to(gateway.port, associate_request()) == (1, 1, 3)
        assert answer_to(gateway.port, associate_request("CT2")) == (0, 0)
        before.sendall(pipelined(range(1, 2)))
        assert [next_pdu(before)[0], next_pdu(before)] == [4, RELEASE_RP_PDU]
        wait_for(lambda: gateway.ended == [("well", 1)])
