"""How many may come in, and who gives way when the door is crowded. No I/O and no clock here.

A flood and a modality may call from one address under titles that anybody can invent; what they do tells them apart.
Who has not associated yet gives way to who comes later, the oldest of the busiest address first. Who has associated
gives way when it brings nothing: to anybody after a while, at once to a caller that has less than its share.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gateway.dimse.peers import Address, Peer

# Of the connections that have not associated, this part is kept for addresses of peers.
KEPT = 0.1
LEAST_WAITING = 16
EVERYBODY = "all"


class Tally:
    """Counts that all processes of a gateway share, by name: each writes its own row and reads the sum.

    Two names of a million share a count by chance; then they share a limit. Which, nobody can work out: Python's hash of
    a text has a secret, drawn at the start of the process that all others are forked from (PYTHONHASHSEED unset).
    """

    SLOTS = 2**20

    def __init__(self, processes: int = 1) -> None:
        # Shared with forked children, and none of it is real memory before it is written to.
        self._rows = np.frombuffer(mmap.mmap(-1, processes * self.SLOTS * 4), dtype=np.uint32).reshape(processes, -1)
        self._own = self._rows[0]

    def become(self, process: int) -> None:
        """Write to this process's row from here on."""
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
class Visitor:
    """Where a connection comes from: whether a peer may call from there, whether many callers share the address."""

    address: Address
    is_known: bool
    is_shared: bool = False


class Guest(Protocol):
    """A connection, as far as its place is concerned."""

    @property
    def visitor(self) -> Visitor:
        """Return where it comes from."""

    @property
    def calling_ae(self) -> str:
        """Return the calling AE title, once it has associated."""

    @property
    def has_begun(self) -> bool:
        """True if it has begun to send any instance since it associated."""

    def quiet_s(self) -> float | None:
        """Return for how long it has brought next to nothing; None while an instance of it is stored."""

    def give_way(self) -> None:
        """Leave its place to another."""


@dataclass(frozen=True)
class Bounds:
    """How many at once: associations in all, connections of an address that no peer has; when the quiet give way."""

    associations: int
    per_address: int
    yield_s: float
    processes: int = 1

    @property
    def waiting(self) -> int:
        """Return this process's share of the connections that have not associated."""
        return max(LEAST_WAITING, -(-self.associations // self.processes))


@dataclass
class Admission:
    """Everybody who is inside one process, and the counts that it shares with the others."""

    bounds: Bounds
    tally: Tally
    # In the order in which they came.
    _waiting: dict[Guest, None] = field(default_factory=dict)
    _associated: dict[Guest, Peer] = field(default_factory=dict)

    @property
    def associated(self) -> int:
        """Return how many have associated, in this process."""
        return len(self._associated)

    @property
    def waiting(self) -> int:
        """Return how many have not, in this process."""
        return len(self._waiting)

    def enter(self, guest: Guest) -> str | None:
        """Take a new connection in, or say why not."""
        visitor = guest.visitor
        if not (visitor.is_known or visitor.is_shared) and self._is_full(visitor):
            return "address-full"
        if self.waiting >= self.bounds.waiting * (1 if visitor.is_known else 1 - KEPT):
            victim = self._oldest(only_strangers=not visitor.is_known)
            if victim is None:
                return "crowd"
            victim.give_way()
        self._waiting[guest] = None
        self.tally.add(_place(visitor))
        return None

    def _is_full(self, visitor: Visitor) -> bool:
        return self.tally.count(_place(visitor)) >= self.bounds.per_address

    def _oldest(self, *, only_strangers: bool) -> Guest | None:
        """Return who waits longest at the address that has most who wait, strangers before all others."""
        strangers = [one for one in self._waiting if not one.visitor.is_known]
        return _oldest_of_largest(strangers if strangers or only_strangers else self._waiting, _origin)

    def admit(self, guest: Guest, peer: Peer) -> bool:
        """Take an association in, for which another may have to give way; False when none can."""
        among = self._crowd(peer)
        if among is not None:
            victim = self._longest_quiet(among) or self._above_its_share(among, guest)
            if victim is None:
                return False
            victim.give_way()
        self._waiting.pop(guest, None)
        self._associated[guest] = peer
        self.tally.add(EVERYBODY)
        self.tally.add(_name(peer))
        return True

    def _crowd(self, peer: Peer) -> list[Guest] | None:
        """Return those among whom one must go before this peer may associate; None when there is room."""
        if self.tally.count(_name(peer)) >= peer.associations:
            return [one for one, theirs in self._associated.items() if theirs.name == peer.name]
        return list(self._associated) if self.tally.count(EVERYBODY) >= self.bounds.associations else None

    def _longest_quiet(self, among: Iterable[Guest]) -> Guest | None:
        quiet = {one: quiet_s for one in among if (quiet_s := one.quiet_s()) is not None}
        longest = max(quiet, key=quiet.__getitem__, default=None)
        return longest if longest is not None and quiet[longest] >= self.bounds.yield_s else None

    def _above_its_share(self, among: list[Guest], guest: Guest) -> Guest | None:
        """Return one that has begun nothing, of the caller with most associations: more than the guest would have."""
        sizes = Counter(map(_caller, among))
        idle = [one for one in among if not one.has_begun and sizes[_caller(one)] > sizes[_caller(guest)] + 1]
        return _oldest_of_largest(idle, _caller)

    def leave(self, guest: Guest) -> None:
        """Forget a connection that has gone; once or more often."""
        if guest in self._waiting:
            del self._waiting[guest]
        elif (peer := self._associated.pop(guest, None)) is not None:
            self.tally.remove(EVERYBODY)
            self.tally.remove(_name(peer))
        else:
            return
        self.tally.remove(_place(guest.visitor))


def _oldest_of_largest(guests: Iterable[Guest], group: Callable[[Guest], object]) -> Guest | None:
    """Return the first of the group that has most."""
    guests = list(guests)
    sizes = Counter(map(group, guests))
    return max(guests, key=lambda one: sizes[group(one)], default=None)


def _origin(guest: Guest) -> object:
    """Say whom a waiting connection counts against: an address that many share would always have most."""
    return guest if guest.visitor.is_shared else guest.visitor.address


def _caller(guest: Guest) -> tuple[Address, str]:
    return guest.visitor.address, guest.calling_ae


def _place(visitor: Visitor) -> str:
    return f"address {visitor.address}"


def _name(peer: Peer) -> str:
    return f"peer {peer.name}"
