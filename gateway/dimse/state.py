"""The states of an association."""

from enum import IntEnum


class AssociationState(IntEnum):
    """How far a connection has come; a state never goes back.

    Whatever the state, the connection counts in admission until it is CLOSED.
    """

    # The socket is accepted, the TLS handshake not done.
    CONNECTING = 0
    # Connected, and no association request answered yet.
    CONNECTED = 1
    ESTABLISHED = 2
    # The peer has requested release: the requests before it are answered, and no more may come (PS3.8 9.2, Sta8).
    RELEASING = 3
    # The process stops: the request in work is answered, and no other.
    STOPPING = 4
    # Our last PDU is sent, a release, a rejection or an abort: nothing is read, and the peer has a while to close.
    ENDED = 5
    CLOSED = 6

    @property
    def is_ended(self) -> bool:
        """True if our last PDU is sent, or the connection is closed."""
        return self >= AssociationState.ENDED
