"""A flood shuts no working sender out, idle connections are dropped first, and limits hold over all processes."""

import multiprocessing
import zlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from gateway.dimse.admission import Admission, AdmissionLimits, AssociationCounts, ConnectionSource
from gateway.dimse.peers import LOOPBACK, Peer

PEER = Peer("here", "*", LOOPBACK, "local", frozenset({"store"}), associations=100)
LIMITS = AdmissionLimits(associations=100, per_address=20, yield_s=5.0)
HERE = ConnectionSource(ip_address("127.0.0.1"), is_peer_address=True)
ELSEWHERE = ConnectionSource(ip_address("203.0.113.1"), is_peer_address=False)


@dataclass(eq=False)
class Connection:
    """A connection, as far as admission sees it."""

    source: ConnectionSource = HERE
    calling_ae: str = "HOSTILE"
    has_begun_data_set: bool = False
    lasted_s: float | None = 0.0
    admission: Admission | None = field(default=None)

    def unproductive_s(self) -> float | None:
        return self.lasted_s

    def drop(self) -> None:
        assert self.admission is not None
        self.admission.remove(self)
        self.admission = None


def admission() -> Admission:
    return Admission(LIMITS, AssociationCounts())


def entered(admitted: Admission, connection: Connection) -> str | None:
    connection.admission = admitted
    return admitted.add_connection(connection)


def associated(admitted: Admission, connection: Connection, peer: Peer = PEER) -> bool:
    assert entered(admitted, connection) is None
    return admitted.add_association(connection, peer)


def crowd(admitted: Admission, size: int, connection: Connection) -> list[Connection]:
    connections = [replace(connection, admission=None) for _ in range(size)]
    assert all(associated(admitted, member) for member in connections)
    return connections


def test_the_oldest_connection_is_dropped_for_a_new_one() -> None:
    admitted = admission()
    waiting = [Connection() for _ in range(300)]

    refused = [entered(admitted, connection) for connection in waiting]

    assert refused == [None] * 300
    assert [connection.admission is not None for connection in waiting] == [False] * 200 + [True] * 100


def test_a_flood_from_one_address_drops_its_own_connections() -> None:
    admitted = admission()
    modality = Connection(ConnectionSource(ip_address("10.0.0.1"), is_peer_address=True))
    entered(admitted, modality)

    for _ in range(1000):
        entered(admitted, Connection())

    assert modality.admission is not None


def test_an_address_that_no_peer_has_gets_at_most_per_address_connections() -> None:
    admitted = admission()
    flood = [Connection(ELSEWHERE) for _ in range(21)]

    assert [entered(admitted, connection) for connection in flood] == [None] * 20 + ["address-full"]
    admitted.remove(flood[0])
    assert entered(admitted, Connection(ELSEWHERE)) is None


def test_a_balancers_address_is_not_counted() -> None:
    admitted = admission()
    shared = replace(ELSEWHERE, is_shared=True)

    assert {entered(admitted, Connection(shared)) for _ in range(80)} == {None}


def test_addresses_without_a_peer_leave_places_for_peers_and_are_dropped_for_them() -> None:
    admitted = admission()
    addresses = [ConnectionSource(ip_address(f"203.0.113.{number}"), is_peer_address=False) for number in range(200)]
    others = [Connection(address) for address in addresses]
    for connection in others:
        entered(admitted, connection)
    assert admitted.unassociated == 90

    peers = [Connection(ConnectionSource(ip_address(f"10.0.0.{number}"), is_peer_address=True)) for number in range(50)]
    for connection in peers:
        entered(admitted, connection)

    assert all(connection.admission is not None for connection in peers)
    assert admitted.unassociated == 100


def test_no_peer_is_dropped_for_an_address_without_a_peer() -> None:
    admitted = admission()
    for number in range(100):
        entered(admitted, Connection(ConnectionSource(ip_address(f"10.0.0.{number}"), is_peer_address=True)))

    assert entered(admitted, Connection(ELSEWHERE)) == "crowd"


def test_a_peer_has_its_own_limit() -> None:
    admitted = admission()
    few = replace(PEER, name="few", associations=2)

    assert [associated(admitted, Connection(), few) for _ in range(3)] == [True, True, False]
    assert associated(admitted, Connection())


def test_all_associations_share_a_limit_and_a_closed_one_frees_its_place() -> None:
    admitted = admission()
    busy = crowd(admitted, 100, Connection(has_begun_data_set=True))
    assert not associated(admitted, Connection())

    admitted.remove(busy[0])
    admitted.remove(busy[0])

    assert admitted.associated == 99
    assert associated(admitted, Connection())


@pytest.mark.parametrize("lasted_s", [5.0, 100.0])
def test_an_association_that_is_unproductive_for_yield_s_is_dropped(lasted_s: float) -> None:
    admitted = admission()
    crowd(admitted, 99, Connection(has_begun_data_set=True))
    (quiet,) = crowd(admitted, 1, Connection(has_begun_data_set=True, lasted_s=lasted_s))

    assert associated(admitted, Connection())
    assert quiet.admission is None


def test_an_association_that_waits_for_our_answer_is_never_dropped() -> None:
    admitted = admission()
    crowd(admitted, 100, Connection(has_begun_data_set=True, lasted_s=None))

    assert not associated(admitted, Connection(calling_ae="MODALITY"))


def test_a_caller_with_fewer_associations_gets_a_place_at_once() -> None:
    admitted = admission()
    crowd(admitted, 100, Connection())

    modality = Connection(calling_ae="MODALITY")
    assert associated(admitted, modality)
    modality.has_begun_data_set = True
    for _ in range(100):
        associated(admitted, Connection())

    assert modality.admission is not None


def test_a_caller_with_as_many_associations_is_refused() -> None:
    admitted = admission()
    crowd(admitted, 50, Connection(calling_ae="ONE"))
    crowd(admitted, 50, Connection(calling_ae="TWO"))

    assert not associated(admitted, Connection(calling_ae="ONE"))


def test_the_counts_hold_over_all_processes() -> None:
    counts = AssociationCounts(processes=2)

    def other() -> None:
        counts.use_row(1)
        for _ in range(2):
            counts.add("peer ct1")
        counts.remove("peer ct1")

    child = multiprocessing.get_context("fork").Process(target=other)
    child.start()
    child.join()
    counts.add("peer ct1")

    assert child.exitcode == 0
    assert (counts.count("peer ct1"), counts.count("peer ct2")) == (2, 0)


def test_names_that_share_a_crc_rarely_share_a_count() -> None:
    counts, slots = AssociationCounts(), dict[int, str]()
    pairs = []
    for name in (f"address 203.0.{number // 256}.{number % 256}" for number in range(2**14)):
        slot = zlib.crc32(name.encode()) % AssociationCounts.SLOTS
        if slot in slots:
            pairs.append((slots[slot], name))
        slots[slot] = name
    for name, _ in pairs:
        counts.add(name)

    assert len(pairs) > 20
    assert sum(counts.count(other) for _, other in pairs) < 3
