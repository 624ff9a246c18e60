"""The choice of connections that are admitted, and of the connection that is dropped when all places are taken.

A flood and a modality may call from one address, under titles that anybody can invent: only their behaviour tells them
apart. A connection that has not associated yet is dropped for a newer connection, the oldest of the busiest address
first. An association that sends next to no data for `yield_s` seconds is dropped for any caller. An association that
never sent a data set is dropped at once for a caller that has fewer associations. No I/O and no clock.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gateway.dimse.peers import Address, Peer

# The share of the places for connections without an association that only addresses of peers may use.
KEPT_FOR_PEERS = 0.1
LEAST_UNASSOCIATED = 16
ALL_ASSOCIATIONS = "all"


class AssociationCounts:
    """Counts of associations and connections by name, over all processes: each process has a row, and reads the sum.

    Two of a million names may share a count by chance, and then share a limit. No caller can find out which names
    share one: the hash of a text depends on a secret that the parent process draws at its start, if PYTHONHASHSEED is
    unset.
    """

    SLOTS = 2**20

    def __init__(self, processes: int = 1) -> None:
        # Shared with forked children; a page takes memory only once it is written to.
        self._rows = np.frombuffer(mmap.mmap(-1, processes * self.SLOTS * 4), dtype=np.uint32).reshape(processes, -1)
        self._own = self._rows[0]

    def use_row(self, process: int) -> None:
        """Count in the row of this process from now on."""
        self._own = self._rows[process]

    def clear(self, process: int) -> None:
        """Forget the counts of a process that has ended."""
        self._rows[process] = 0

    def count(self, name: str) -> int:
        """Return the count over all processes."""
        return int(self._rows[:, self._slot(name)].sum())

    def add(self, name: str) -> None:
        """Raise the count of a name by 1."""
        self._own[self._slot(name)] += 1

    def remove(self, name: str) -> None:
        """Lower the count of a name by 1."""
        self._own[self._slot(name)] -= 1

    def _slot(self, name: str) -> int:
        return hash(name) % self.SLOTS


@dataclass(frozen=True)
class ConnectionSource:
    """The address that a connection comes from.

    `is_peer_address` is true if a peer may call from it, `is_shared` if it is a balancer's and stands for many callers.
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
        """Return the address that the connection comes from."""

    @property
    def calling_ae(self) -> str:
        """Return the calling AE title of the association, which is accepted or about to be accepted."""

    @property
    def has_begun_data_set(self) -> bool:
        """True if the association has ever begun to send a data set, or has ended."""

    def unproductive_s(self) -> float | None:
        """Return for how many seconds less than a fair rate arrived; None while a data set is being stored."""

    def drop(self) -> None:
        """End the connection, so that another can take its place."""


@dataclass(frozen=True)
class AdmissionLimits:
    """The most associations, and the most connections from an address that no peer has.

    An association that has been unproductive for `yield_s` seconds may be dropped for another one.
    """

    associations: int
    per_address: int
    yield_s: float
    processes: int = 1

    @property
    def unassociated(self) -> int:
        """Return the most connections of one process that may be without an association."""
        return max(LEAST_UNASSOCIATED, -(-self.associations // self.processes))


@dataclass
class Admission:
    """The connections of one process, and the counts that all processes share."""

    limits: AdmissionLimits
    counts: AssociationCounts
    # Both in the order in which the connections were added.
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
        """Count a new connection, and drop another for it if need be; return the reason if there is no place for it."""
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

        Addresses that no peer has are preferred; with `only_others` only they are considered.
        """
        others = [connection for connection in self._unassociated if not connection.source.is_peer_address]
        return _oldest_of_largest(others if others or only_others else self._unassociated, _origin)

    def add_association(self, connection: ManagedConnection, peer: Peer) -> bool:
        """Count a connection as an association, and drop another for it if need be; False if there is no place."""
        rivals = self._rivals(peer)
        if rivals is not None:
            victim = self._longest_unproductive(rivals) or self._idle_of_busier_caller(rivals, connection)
            if victim is None:
                return False
            victim.drop()
        self._unassociated.pop(connection, None)
        self._associated[connection] = peer
        self.counts.add(ALL_ASSOCIATIONS)
        self.counts.add(_peer_name(peer))
        return True

    def _rivals(self, peer: Peer) -> list[ManagedConnection] | None:
        """Return the associations of which one must be dropped for this peer to associate; None if there is room."""
        if self.counts.count(_peer_name(peer)) >= peer.associations:
            return [rival for rival, its_peer in self._associated.items() if its_peer.name == peer.name]
        is_full = self.counts.count(ALL_ASSOCIATIONS) >= self.limits.associations
        return list(self._associated) if is_full else None

    def _longest_unproductive(self, rivals: Iterable[ManagedConnection]) -> ManagedConnection | None:
        durations_s = {rival: lasted_s for rival in rivals if (lasted_s := rival.unproductive_s()) is not None}
        longest = max(durations_s, key=durations_s.__getitem__, default=None)
        return longest if longest is not None and durations_s[longest] >= self.limits.yield_s else None

    def _idle_of_busier_caller(
        self, rivals: list[ManagedConnection], connection: ManagedConnection
    ) -> ManagedConnection | None:
        """Return the oldest association without any data set, of the caller that has most such associations.

        Only callers count that have more associations than the new connection's caller would have.
        """
        sizes = Counter(map(_caller, rivals))
        most = sizes[_caller(connection)] + 1
        idle = [rival for rival in rivals if not rival.has_begun_data_set and sizes[_caller(rival)] > most]
        return _oldest_of_largest(idle, _caller)

    def remove(self, connection: ManagedConnection) -> None:
        """Free the place of a closed connection; repeated calls change nothing."""
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
    """Return the first connection of the largest group; None without connections."""
    connections = list(connections)
    sizes = Counter(map(group_of, connections))
    return max(connections, key=lambda connection: sizes[group_of(connection)], default=None)


def _origin(connection: ManagedConnection) -> object:
    """Return the group of a connection without an association: its address.

    A connection from a shared address is a group of its own: otherwise such an address would always be the busiest.
    """
    return connection if connection.source.is_shared else connection.source.address


def _caller(connection: ManagedConnection) -> tuple[Address, str]:
    return connection.source.address, connection.calling_ae


def _address_name(source: ConnectionSource) -> str:
    return f"address {source.address}"


def _peer_name(peer: Peer) -> str:
    return f"peer {peer.name}"
