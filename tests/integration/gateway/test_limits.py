"""Peers that are silent, slow or too many: each is ended by its limit, and no sender is shut out."""

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from pynetdicom import AE

from operators.dimse.pdu import RELEASE_RP_PDU
from tests.support.worlds.gateway import GatewaySections
from tests.support.worlds.running_gateway import (
    CT,
    WAIT_S,
    RunningGateway,
    answer_to,
    associate_pdu,
    associate_request,
    associated,
    connected,
    next_pdu,
    pipelined,
    running,
    wait_for,
)

ATTEMPTS = 5


def test_an_association_over_the_limit_gets_a_transient_rejection(settings: GatewaySections) -> None:
    with running(settings.changed(associations=1)) as gateway, associated(gateway.port):
        assert answer_to(gateway.port, associate_request()) == (2, 3, 2)
        assert is_rejected(gateway.port)


def is_rejected(port: int) -> bool:
    """True if pynetdicom is rejected; in one of a hundred attempts it aborts although it has read the rejection."""
    entity = AE("SENDER")
    entity.add_requested_context(CT)
    return any(entity.associate("127.0.0.1", port).is_rejected for _ in range(ATTEMPTS))


@dataclass(frozen=True)
class SilentPeer:
    """A peer that sends these bytes and then nothing more, and the gateway's settings."""

    sent: bytes
    changes: dict[str, float]


@pytest.mark.parametrize(
    "peer",
    [
        SilentPeer(b"", {"associate_s": 0.2}),
        SilentPeer(b"\x01", {"associate_s": 0.2}),
        SilentPeer(struct.pack(">BxI", 1, 600_000_000), {}),
        SilentPeer(b"GET / HTTP/1.1\r\n\r\n", {}),
    ],
)
def test_a_peer_that_never_associates_is_aborted(settings: GatewaySections, peer: SilentPeer) -> None:
    with running(settings.changed(**peer.changes)) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
            connection.sendall(peer.sent)
            answer = connection.recv(100)

        assert answer[:1] == b"\x07"
        wait_for(lambda: not gateway.door.connections)


@pytest.mark.parametrize(("sent", "changes"), [(b"", {"idle_s": 0.2}), (b"\x04\x00\x00", {"silence_s": 0.2})])
def test_an_association_that_falls_silent_is_aborted(
    settings: GatewaySections, sent: bytes, changes: dict[str, float]
) -> None:
    with running(settings.changed(**changes)) as gateway, associated(gateway.port, release=False) as association:
        association.dul.socket.socket.sendall(sent)
        wait_for(lambda: not gateway.door.connections)

        assert gateway.door.associated == 0


def test_a_peer_whose_pdu_arrives_too_slowly_is_aborted(settings: GatewaySections) -> None:
    hasty = settings.changed(silence_s=0.3, slowest_bytes_per_s=100_000.0)
    with running(hasty) as gateway, associated(gateway.port, release=False) as association:
        peer = association.dul.socket.socket
        peer.sendall(struct.pack(">BxI", 4, 100_000))

        def is_ended() -> bool:
            with suppress(OSError):
                peer.sendall(b"\0")
            return not gateway.door.connections

        wait_for(is_ended)


def test_a_process_without_free_memory_rejects_associations_until_it_has_some(gateway: RunningGateway) -> None:
    gateway.door.intake.room.held_bytes = gateway.door.intake.room.most_bytes

    assert is_rejected(gateway.port)

    gateway.door.intake.room.held_bytes = 0
    with associated(gateway.port):
        pass


def test_an_association_without_requests_is_aborted(settings: GatewaySections) -> None:
    with running(settings.changed(stall_s=0.2)) as gateway, connected(gateway.port, associate_request()) as silent:
        assert [next_pdu(silent)[0], next_pdu(silent)[0]] == [2, 7]


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "silent": lambda _: b"",
    "one byte": lambda _: b"\x01",
    "long first PDU": lambda _: struct.pack(">BxI", 1, 500_000) + bytes(100),
    "associated": lambda _: associate_request("HOSTILE"),
    "associated, other titles": lambda number: associate_request(f"HOSTILE{number}"),
    "in a message": lambda _: associate_request("HOSTILE") + pipelined(range(1, 2))[:200],
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_flood_shuts_no_sender_out_and_is_ended(settings: GatewaySections, sent: Callable[[int], bytes]) -> None:
    hasty = settings.changed(
        associations=20, yield_s=0.2, associate_s=1.0, silence_s=1.0, stall_s=1.0, slowest_bytes_per_s=1000.0
    )
    with running(hasty) as gateway, ExitStack() as kept:
        for number in range(60):
            with suppress(OSError):
                kept.enter_context(connected(gateway.port, sent(number)))

        def is_stored() -> bool:
            with connected(gateway.port, associate_pdu("CT1") + pipelined(range(1, 2))) as sender:
                received = next_pdu(sender)
                return received[0] == 2 and next_pdu(sender)[0] == 4 and next_pdu(sender) == RELEASE_RP_PDU

        wait_for(is_stored)
        wait_for(lambda: not gateway.door.connections)
        assert len(gateway.stored) == 1
