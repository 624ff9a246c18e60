"""A storage SCU that needs little CPU, so that a benchmark measures the archive and not its sender.

Association PDUs are pynetdicom's; P-DATA and the C-STORE command set are packed here: PS3.8 9.3, PS3.7 9.3.1.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    A_RELEASE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from tests.support.senders.sender import Peer

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION = "2.25.1"
CONTEXT = 1
COMMAND, LAST = 0x01, 0x02
P_DATA, ASSOCIATE_AC, RELEASE_RP = 0x04, 0x02, 0x06


class AssociationLost(ConnectionError):
    """The peer did not accept the association, or ended it."""


class NoContext(AssociationLost):
    """The peer accepted the association, but not the presentation context."""


class Storable(Protocol):
    """An instance that can be sent: the UIDs of the command, and the data set in parts."""

    @property
    def sop_class(self) -> str:
        """Return the SOP Class UID of the command."""

    @property
    def sop_uid(self) -> str:
        """Return the SOP Instance UID of the command."""

    @property
    def parts(self) -> tuple[bytes, ...]:
        """Return the data set's bytes in parts, which are sent as they are."""


class Association:
    """An association with one presentation context; its methods raise AssociationLost or OSError."""

    def __init__(self, connection: socket.socket, opening: bytes) -> None:
        self._socket = connection
        self._messages = 0
        self._socket.sendall(opening)
        accepted = A_ASSOCIATE_AC()
        accepted.decode(self._pdu(ASSOCIATE_AC))
        if accepted.presentation_context[0].result != 0:
            raise NoContext("presentation context not accepted")
        self._fragment = fragment_bytes(accepted.user_information.maximum_length)

    def store(self, instance: Storable) -> int:
        """Send one instance; return the status of the response."""
        self._socket.sendall(self.message(instance))
        return self.answer()

    def message(self, instance: Storable) -> bytes:
        """Return the bytes of the next request, for one instance."""
        self._messages = self._messages % 0xFFFF + 1
        command = store_command(instance, self._messages)
        return b"".join((pdv(command, COMMAND | LAST), *fragments(b"".join(instance.parts), self._fragment)))

    def send(self, part: bytes) -> None:
        """Send a part of a request."""
        self._socket.sendall(part)

    def answer(self) -> int:
        """Return the status of the next response."""
        return status(self._pdu(P_DATA))

    def store_in_parts(self, instance: Storable) -> int:
        """Send one instance that is too large for memory, part by part; return the status of the response."""
        self._messages = self._messages % 0xFFFF + 1
        self._socket.sendall(pdv(store_command(instance, self._messages), COMMAND | LAST))
        *most, last = instance.parts
        for part in most:
            for start in range(0, len(part), self._fragment):
                self._socket.sendall(pdv(part[start : start + self._fragment], 0))
        self._socket.sendall(b"".join(fragments(last, self._fragment)))
        return self.answer()

    def release(self) -> None:
        """Release the association."""
        release = A_RELEASE_RQ()
        release.from_primitive(A_RELEASE())
        self._socket.sendall(release.encode())
        self._pdu(RELEASE_RP)

    def _pdu(self, kind: int) -> bytes:
        head = self._exactly(6)
        data = head + self._exactly(struct.unpack(">I", head[2:])[0])
        if head[0] != kind:
            raise AssociationLost(f"PDU of type {head[0]} instead of {kind}")
        return data

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            received = self._socket.recv(count - len(data))
            if not received:
                raise AssociationLost("connection closed")
            data += received
        return data


@contextmanager
def associated(peer: Peer, sop_class: str, transfer_syntax: str) -> Iterator[Association]:
    """Open an association for the block, and release it at the end."""
    with socket.create_connection((peer.host, peer.port), timeout=peer.answer_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        association = Association(connection, request(peer, sop_class, transfer_syntax))
        yield association
        association.release()


def request(peer: Peer, sop_class: str, transfer_syntax: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for one presentation context."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "BENCH", peer.ae_title
    context = build_context(sop_class, transfer_syntax)
    context.context_id = CONTEXT
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, IMPLEMENTATION
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def fragment_bytes(maximum_length: int) -> int:
    """Return how many bytes of a data set one PDV carries: an even number, within the peer's maximum (0: no limit)."""
    return min(maximum_length or 1 << 18, 1 << 18) - 6 & ~1


def fragments(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs of a data set."""
    for start in range(0, len(data), size):
        yield pdv(data[start : start + size], LAST if start + size >= len(data) else 0)


def pdv(data: bytes, control: int) -> bytes:
    """Return a P-DATA-TF PDU with one presentation data value."""
    return struct.pack(">BxIIBB", P_DATA, len(data) + 6, len(data) + 2, CONTEXT, control) + data


def store_command(instance: Storable, message_id: int) -> bytes:
    """Return a C-STORE-RQ's command set, implicit VR little endian."""
    elements = b"".join(
        (
            element(0x0002, uid(instance.sop_class)),
            element(0x0100, struct.pack("<H", 0x0001)),
            element(0x0110, struct.pack("<H", message_id)),
            element(0x0700, struct.pack("<H", 0)),
            element(0x0800, struct.pack("<H", 1)),
            element(0x1000, uid(instance.sop_uid)),
        )
    )
    return element(0x0000, struct.pack("<I", len(elements))) + elements


def element(number: int, value: bytes) -> bytes:
    """Return an element of group 0000."""
    return struct.pack("<HHI", 0x0000, number, len(value)) + value


def uid(text: str) -> bytes:
    """Return a UID, padded to even length."""
    return text.encode() + b"\0" * (len(text) % 2)


def status(pdu: bytes) -> int:
    """Return the status (0000,0900) of a response that is one PDU."""
    at = 12
    while at < len(pdu):
        _, number, length = struct.unpack_from("<HHI", pdu, at)
        if number == 0x0900:
            return int(struct.unpack_from("<H", pdu, at + 8)[0])
        at += 8 + length
    raise AssociationLost("a response without a status")
