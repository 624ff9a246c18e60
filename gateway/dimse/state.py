"""The states of an association."""

from enum import IntEnum


class AssociationState(IntEnum):
    """How far a connection has come; a state never goes back.

    Whatever the state, the connection counts in admission until it is CLOSED.
    """

    # The socket is accepted, but the TLS handshake is not done.
    CONNECTING = 0
    # Connected, but no association request is answered yet.
    CONNECTED = 1
    ESTABLISHED = 2
    # The peer has requested release: the requests before it are answered, and no more may come (PS3.8 9.2, Sta8).
    RELEASING = 3
    # The process is stopping: only the request that is being answered still is.
    STOPPING = 4
    # Our last PDU (a release, a rejection or an abort) is sent: nothing is parsed, and the peer has time to close.
    ENDED = 5
    CLOSED = 6

    @property
    def is_ended(self) -> bool:
        """True if our last PDU is sent, or the connection is closed."""
        return self >= AssociationState.ENDED
