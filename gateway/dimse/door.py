"""The DIMSE door of one process: the state that its connections share, and its answer to association requests."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from gateway.dimse.admission import Admission
from gateway.dimse.peers import Address, Caller, Certificate, Peer, Peers
from gateway.dimse.services.table import is_served
from gateway.intake.lifespan import Intake
from operators.dimse.negotiation import AssociateAccepted, AssociateRejected, Terms, negotiate, read_titles, reject
from schemas.settings.dimse import DimseSettings


class OpenConnection(Protocol):
    """A connection, as far as its door needs it to close it."""

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Return the task that answers its requests; None while there is none to answer."""

    def stop(self) -> None:
        """End now, or when the request that is being answered has ended."""

    def abort(self, reason: str) -> None:
        """Send an A-ABORT and close, unless the association has already ended."""

    def close(self) -> None:
        """Close the connection, in any state."""


@dataclass
class Door:
    """The settings, intake, admission and peers that the connections of one process share, and these connections."""

    settings: DimseSettings
    terms: Terms
    intake: Intake
    admission: Admission
    # Replaced as a whole when the file changes: an association keeps the peer that it was accepted as.
    peers: Peers
    # Until they are closed and none of their requests is being answered.
    connections: set[OpenConnection] = field(default_factory=set)

    @property
    def associated(self) -> int:
        """Return the number of associations of this process."""
        return self.admission.associated

    def find_peer(self, pdu: bytes, address: Address, certificate: Certificate | None) -> Peer | str:
        """Return the peer that an association request comes from, or the reason to reject it.

        A request from an address that no peer has is not read at all. Raises Violation.
        """
        if not self.peers.has_address(address):
            return "address"
        called_ae, calling_ae = read_titles(pdu)
        return self.peers.find(Caller(address, calling_ae, called_ae, certificate))

    def negotiate(self, pdu: bytes, peer: Peer) -> AssociateAccepted | AssociateRejected:
        """Return the answer to the association request of a peer; raises Violation."""
        if self.intake.room.is_full:
            return reject("memory")
        return negotiate(pdu, self.terms, partial(is_served, names=peer.services))

    async def close(self, within_s: float) -> None:
        """Wait at most `within_s` seconds until the running requests are answered, and end every connection."""
        for connection in list(self.connections):
            connection.stop()
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.connections):
            connection.abort("shutdown")
            connection.close()
