"""Which connections may come in, and which one is dropped when all places are taken. No I/O and no clock here.

A flood and a modality may call from one address, under titles that anybody can invent: only their behaviour tells
them apart. A connection that has not associated yet is dropped for a newer one, the oldest of the busiest address first. An
association is dropped when it sends nothing: for anybody once that has lasted long enough, and at once for a caller
that has fewer associations.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gateway.dimse.peers import Address, Peer

# The part of the places for connections without an association that is kept for addresses of peers.
KEPT_FOR_PEERS = 0.1
LEAST_UNASSOCIATED = 16
ALL_ASSOCIATIONS = "all"


class AssociationCounts:
    """Counts of associations and connections by name, shared by all processes: each has its own row, and reads the sum.

    Among a million names two may share a count by chance, and then share a limit. Nobody outside can work out which
    two: the hash of a text has a secret that the parent of all processes draws when it starts (PYTHONHASHSEED unset).
    """

    SLOTS = 2**20

    def __init__(self, processes: int = 1) -> None:
        # Shared with forked children; a page takes memory only once it is written to.
        self._rows = np.frombuffer(mmap.mmap(-1, processes * self.SLOTS * 4), dtype=np.uint32).reshape(processes, -1)
        self._own = self._rows[0]

    def use_row(self, process: int) -> None:
        """Count in the row of this process from here on."""
        self._own = self._rows[process]

    def count(self, name: str) -> int:
        """Return the count over all processes."""
        return int(self._rows[:, self._slot(name)].sum())

    def add(self, name: str) -> None:
        """Count one more."""
        self._own[self._slot(name)] += 1

    def remove(self, name: str) -> None:
        """Count one less."""
        self._own[self._slot(name)] -= 1

    def _slot(self, name: str) -> int:
        return hash(name) % self.SLOTS


@dataclass(frozen=True)
class ConnectionSource:
    """Where a connection comes from.

    `is_peer_address` is true if a peer may call from the address, `is_shared` if a balancer puts many callers behind it.
    """

    address: Address
    is_peer_address: bool
    is_shared: bool = False


class ManagedConnection(Protocol):
    """A connection whose place is managed here, from `add_connection` to `remove`.

    The properties are read only while a place is being looked for. `drop` must lead to `remove`, at once or as soon as
    the connection is closed; it may be called again before that.
    """

    @property
    def source(self) -> ConnectionSource:
        """Return where the connection comes from."""

    @property
    def calling_ae(self) -> str:
        """Return the calling AE title of the association that is accepted or about to be."""

    @property
    def has_begun_data_set(self) -> bool:
        """True if the association has ever begun to send a data set, or has ended."""

    def unproductive_s(self) -> float | None:
        """Return for how many seconds next to nothing came; None while a data set is being stored."""

    def drop(self) -> None:
        """End the connection, so that another can take its place."""


@dataclass(frozen=True)
class AdmissionLimits:
    """How many associations there may be, and how many connections from an address that no peer has.

    An association that has been unproductive for `yield_s` seconds may be dropped for another.
    """

    associations: int
    per_address: int
    yield_s: float
    processes: int = 1

    @property
    def unassociated(self) -> int:
        """Return how many connections of one process may be without an association."""
        return max(LEAST_UNASSOCIATED, -(-self.associations // self.processes))


@dataclass
class Admission:
    """The connections of one process, and the counts that all processes share."""

    limits: AdmissionLimits
    counts: AssociationCounts
    # Both in the order in which the connections came.
    _unassociated: dict[ManagedConnection, None] = field(default_factory=dict)
    _associated: dict[ManagedConnection, Peer] = field(default_factory=dict)

    @property
    def associated(self) -> int:
        """Return the number of associations of this process."""
        return len(self._associated)

    @property
    def unassociated(self) -> int:
        """Return the number of this process's connections that have not associated."""
        return len(self._unassociated)

    def add_connection(self, connection: ManagedConnection) -> str | None:
        """Count a new connection, for which another may be dropped; return the reason if there is no place."""
        source = connection.source
        if not (source.is_peer_address or source.is_shared) and self._is_address_full(source):
            return "address-full"
        if self.unassociated >= self.limits.unassociated * (1 if source.is_peer_address else 1 - KEPT_FOR_PEERS):
            victim = self._oldest_unassociated(only_others=not source.is_peer_address)
            if victim is None:
                return "crowd"
            victim.drop()
        self._unassociated[connection] = None
        self.counts.add(_address_name(source))
        return None

    def _is_address_full(self, source: ConnectionSource) -> bool:
        return self.counts.count(_address_name(source)) >= self.limits.per_address

    def _oldest_unassociated(self, *, only_others: bool) -> ManagedConnection | None:
        """Return the oldest connection of the address that has most of them.

        Addresses that no peer has come first; with `only_others` no other is returned.
        """
        others = [one for one in self._unassociated if not one.source.is_peer_address]
        return _oldest_of_largest(others if others or only_others else self._unassociated, _origin)

    def add_association(self, connection: ManagedConnection, peer: Peer) -> bool:
        """Count a connection as an association, for which another may be dropped; False if there is no place."""
        rivals = self._rivals(peer)
        if rivals is not None:
            victim = self._longest_unproductive(rivals) or self._one_too_many(rivals, connection)
            if victim is None:
                return False
            victim.drop()
        self._unassociated.pop(connection, None)
        self._associated[connection] = peer
        self.counts.add(ALL_ASSOCIATIONS)
        self.counts.add(_peer_name(peer))
        return True

    def _rivals(self, peer: Peer) -> list[ManagedConnection] | None:
        """Return the associations of which one must be dropped before this peer may associate; None if there is room."""
        if self.counts.count(_peer_name(peer)) >= peer.associations:
            return [one for one, other in self._associated.items() if other.name == peer.name]
        is_full = self.counts.count(ALL_ASSOCIATIONS) >= self.limits.associations
        return list(self._associated) if is_full else None

    def _longest_unproductive(self, rivals: Iterable[ManagedConnection]) -> ManagedConnection | None:
        durations_s = {one: lasted_s for one in rivals if (lasted_s := one.unproductive_s()) is not None}
        longest = max(durations_s, key=durations_s.__getitem__, default=None)
        return longest if longest is not None and durations_s[longest] >= self.limits.yield_s else None

    def _one_too_many(self, rivals: list[ManagedConnection], connection: ManagedConnection) -> ManagedConnection | None:
        """Return the oldest association without any data set, of the caller that has most associations.

        Only of callers that have more than the new connection's caller would have.
        """
        sizes = Counter(map(_caller, rivals))
        most = sizes[_caller(connection)] + 1
        idle = [one for one in rivals if not one.has_begun_data_set and sizes[_caller(one)] > most]
        return _oldest_of_largest(idle, _caller)

    def remove(self, connection: ManagedConnection) -> None:
        """Free the place of a closed connection; a second call changes nothing."""
        if connection in self._unassociated:
            del self._unassociated[connection]
        elif (peer := self._associated.pop(connection, None)) is not None:
            self.counts.remove(ALL_ASSOCIATIONS)
            self.counts.remove(_peer_name(peer))
        else:
            return
        self.counts.remove(_address_name(connection.source))


def _oldest_of_largest(
    connections: Iterable[ManagedConnection], group_of: Callable[[ManagedConnection], object]
) -> ManagedConnection | None:
    """Return the first connection of the group that has most."""
    connections = list(connections)
    sizes = Counter(map(group_of, connections))
    return max(connections, key=lambda one: sizes[group_of(one)], default=None)


def _origin(connection: ManagedConnection) -> object:
    """Return the group of a connection without an association: its address.

    A connection from a shared address is a group of its own, for such an address would always have most.
    """
    return connection if connection.source.is_shared else connection.source.address


def _caller(connection: ManagedConnection) -> tuple[Address, str]:
    return connection.source.address, connection.calling_ae


def _address_name(source: ConnectionSource) -> str:
    return f"address {source.address}"


def _peer_name(peer: Peer) -> str:
    return f"peer {peer.name}"
