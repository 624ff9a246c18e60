"""A crowd never shuts out who does its work: who brings nothing gives way, and limits hold over all processes."""

import multiprocessing
import zlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from gateway.dimse.admission import Admission, Bounds, Tally, Visitor
from gateway.dimse.peers import LOOPBACK, Peer

PEER = Peer("here", "*", LOOPBACK, "local", frozenset({"store"}), associations=100)
BOUNDS = Bounds(associations=100, per_address=20, yield_s=5.0)
HERE = Visitor(ip_address("127.0.0.1"), is_known=True)
STRANGER = Visitor(ip_address("203.0.113.1"), is_known=False)


@dataclass(eq=False)
class Connection:
    """A connection as admission sees it."""

    visitor: Visitor = HERE
    calling_ae: str = "HOSTILE"
    has_begun: bool = False
    silent_s: float | None = 0.0
    inside: Admission | None = field(default=None)

    def quiet_s(self) -> float | None:
        return self.silent_s

    def give_way(self) -> None:
        assert self.inside is not None
        self.inside.leave(self)
        self.inside = None


def admission(bounds: Bounds = BOUNDS) -> Admission:
    return Admission(bounds, Tally())


def entered(inside: Admission, connection: Connection) -> str | None:
    connection.inside = inside
    return inside.enter(connection)


def associated(inside: Admission, connection: Connection, peer: Peer = PEER) -> bool:
    assert entered(inside, connection) is None
    return inside.admit(connection, peer)


def crowd(inside: Admission, size: int, connection: Connection) -> list[Connection]:
    guests = [replace(connection, inside=None) for _ in range(size)]
    assert all(associated(inside, one) for one in guests)
    return guests


def test_who_waits_longest_gives_way_to_who_comes() -> None:
    inside = admission()
    waiting = [Connection() for _ in range(300)]

    refused = [entered(inside, one) for one in waiting]

    assert refused == [None] * 300
    assert [one.inside is not None for one in waiting] == [False] * 200 + [True] * 100


def test_a_flood_from_one_address_moves_out_its_own() -> None:
    inside = admission()
    modality = Connection(Visitor(ip_address("10.0.0.1"), is_known=True))
    entered(inside, modality)

    for _ in range(1000):
        entered(inside, Connection())

    assert modality.inside is not None


def test_an_address_that_no_peer_has_gets_few_connections() -> None:
    inside = admission()
    flood = [Connection(STRANGER) for _ in range(21)]

    assert [entered(inside, one) for one in flood] == [None] * 20 + ["address-full"]
    inside.leave(flood[0])
    assert entered(inside, Connection(STRANGER)) is None


def test_a_balancers_address_is_not_counted() -> None:
    inside = admission()
    shared = replace(STRANGER, is_shared=True)

    assert {entered(inside, Connection(shared)) for _ in range(80)} == {None}


def test_strangers_leave_places_for_peers_and_give_way_to_them() -> None:
    inside = admission()
    addresses = [Visitor(ip_address(f"203.0.113.{number}"), is_known=False) for number in range(200)]
    strangers = [Connection(address) for address in addresses]
    for one in strangers:
        entered(inside, one)
    assert inside.waiting == 90

    peers = [Connection(Visitor(ip_address(f"10.0.0.{number}"), is_known=True)) for number in range(50)]
    for one in peers:
        entered(inside, one)

    assert all(one.inside is not None for one in peers)
    assert inside.waiting == 100


def test_strangers_never_move_out_who_is_known() -> None:
    inside = admission()
    for number in range(100):
        entered(inside, Connection(Visitor(ip_address(f"10.0.0.{number}"), is_known=True)))

    assert entered(inside, Connection(STRANGER)) == "crowd"


def test_a_peer_has_its_own_limit() -> None:
    inside = admission()
    few = replace(PEER, name="few", associations=2)

    assert [associated(inside, Connection(), few) for _ in range(3)] == [True, True, False]
    assert associated(inside, Connection())


def test_all_together_have_a_limit_and_a_place_comes_back() -> None:
    inside = admission()
    busy = crowd(inside, 100, Connection(has_begun=True))
    assert not associated(inside, Connection())

    inside.leave(busy[0])
    inside.leave(busy[0])

    assert inside.associated == 99
    assert associated(inside, Connection())


@pytest.mark.parametrize("silent_s", [5.0, 100.0])
def test_who_brings_nothing_for_long_gives_way(silent_s: float) -> None:
    inside = admission()
    crowd(inside, 99, Connection(has_begun=True))
    (quiet,) = crowd(inside, 1, Connection(has_begun=True, silent_s=silent_s))

    assert associated(inside, Connection())
    assert quiet.inside is None


def test_who_waits_for_our_answer_never_gives_way() -> None:
    inside = admission()
    crowd(inside, 100, Connection(has_begun=True, silent_s=None))

    assert not associated(inside, Connection(calling_ae="MODALITY"))


def test_a_caller_with_less_than_its_share_comes_in_at_once() -> None:
    inside = admission()
    crowd(inside, 100, Connection())

    modality = Connection(calling_ae="MODALITY")
    assert associated(inside, modality)
    modality.has_begun = True
    for _ in range(100):
        associated(inside, Connection())

    assert modality.inside is not None


def test_a_caller_that_has_its_share_waits() -> None:
    inside = admission()
    crowd(inside, 50, Connection(calling_ae="ONE"))
    crowd(inside, 50, Connection(calling_ae="TWO"))

    assert not associated(inside, Connection(calling_ae="ONE"))


def test_the_counts_hold_over_all_processes() -> None:
    tally = Tally(processes=2)

    def other() -> None:
        tally.become(1)
        for _ in range(2):
            tally.add("peer ct1")
        tally.remove("peer ct1")

    child = multiprocessing.get_context("fork").Process(target=other)
    child.start()
    child.join()
    tally.add("peer ct1")

    assert child.exitcode == 0
    assert (tally.count("peer ct1"), tally.count("peer ct2")) == (2, 0)


def test_nobody_can_work_out_whose_count_is_shared() -> None:
    tally, slots = Tally(), dict[int, str]()
    pairs = []
    for name in (f"address 203.0.{number // 256}.{number % 256}" for number in range(2**14)):
        slot = zlib.crc32(name.encode()) % Tally.SLOTS
        if slot in slots:
            pairs.append((slots[slot], name))
        slots[slot] = name
    for one, _ in pairs:
        tally.add(one)

    assert len(pairs) > 20
    assert sum(tally.count(other) for _, other in pairs) < 3
