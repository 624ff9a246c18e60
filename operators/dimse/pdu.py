"""PDUs of the DICOM upper layer (PS3.8 9.3): read from a byte stream as acceptor, and written. No I/O.

Everything is parsed with struct in place, in time that follows from its length: pynetdicom, which the tests compare
this with, takes 10 to 17 CPU seconds for a gigabyte of P-DATA.
"""

import struct
from typing import Protocol

PDU_HEADER = struct.Struct(">BxI")
# A presentation data value: its length, its context, its message control header (PS3.8 9.3.5.1, E.2).
VALUE_HEADER = struct.Struct(">IBB")
# A P-DATA-TF up to its first value, and the bytes of that value's length, its context and control header.
WHOLE_HEADER = struct.Struct(">BxIIBB")
LENGTH_BYTES, CONTROL_BYTES = 4, 2
# A-ASSOCIATE-RJ and A-ABORT: result, source, reason.
REASON_PDU = struct.Struct(">BxIxBBB")

# PS3.8 table 9-10 and following.
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
# A-ASSOCIATE-RJ, A-RELEASE and A-ABORT have no other length (PS3.8 9.3.4, 9.3.6 to 9.3.8).
FIXED_BYTES = 4
RELEASE_RQ_PDU = PDU_HEADER.pack(RELEASE_RQ, FIXED_BYTES) + bytes(FIXED_BYTES)
RELEASE_RP_PDU = PDU_HEADER.pack(RELEASE_RP, FIXED_BYTES) + bytes(FIXED_BYTES)

# PS3.8 E.2: in the message control header, bit 0 marks a command, bit 1 the last fragment.
IS_COMMAND, IS_LAST = 0x01, 0x02

# Anybody can open a connection: a peer without an association yet gets only a small buffer.
FIRST_BUFFER_BYTES = 16 * 1024
# Room for a CT slice of 512 by 512 pixels, so that one wake-up takes all of it that has arrived.
BUFFER_BYTES = 640 * 1024


class Violation(Exception):
    """The peer broke a rule of the protocol, so the association must be aborted.

    `reason` names the rule in metrics, `code` is the A-ABORT's own reason (PS3.8 table 9-26).
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class PduListener(Protocol):
    """Receives the PDUs that a PduReader finds, each once and in their order.

    Every method is called from within PduReader.received. A method may raise Violation, which leaves `received` too,
    and may call PduReader.stop, after which no method is called. Before the association request only an A-ABORT can
    come, and the request comes once.
    """

    def associate_requested(self, pdu: bytes) -> None:
        """Handle an A-ASSOCIATE-RQ: the whole PDU with its header."""

    def data_arrived(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Handle the next piece of a presentation data value; `is_whole` if the value ends with it.

        The piece is a view of the receive buffer, valid only during the call.
        """

    def release_requested(self) -> None:
        """Handle an A-RELEASE-RQ."""

    def aborted(self) -> None:
        """Handle an A-ABORT."""


class PduReader:
    """Cuts a byte stream into PDUs, which do not depend on how the stream is divided.

    The listener gets the pieces of data values as they arrive: none waits until its PDU is complete, and no declared
    length makes memory grow. There is one receive buffer, small until `widen` is called.
    """

    def __init__(
        self, listener: PduListener, *, first_bytes: int, most_bytes: int, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        self.completed = 0
        # Bytes received so far of the PDU that is being read.
        self.pdu_bytes = 0
        self._listener = listener
        self._first_bytes = first_bytes
        self._most_bytes = most_bytes
        self._buffer_bytes = buffer_bytes
        self._buffer = memoryview(bytearray(min(buffer_bytes, FIRST_BUFFER_BYTES)))
        self._start = self._end = 0
        self._is_first = True
        self._is_wide = self._is_stopped = False
        self._kind = 0
        # Bytes that have not arrived yet: of the PDU, and of the data value.
        self._pdu_left = 0
        self._value_left = 0
        self._collected = bytearray()
        self._value: tuple[int, int] | None = None

    @property
    def is_between_pdus(self) -> bool:
        """True if no PDU has begun."""
        return self._kind == 0 and self._start == self._end

    def space(self) -> memoryview:
        """Return the part of the buffer to receive into."""
        return self._buffer[self._end :]

    def widen(self) -> None:
        """Replace the buffer by the large one when `received` returns next; call this on acceptance."""
        self._is_wide = True

    def stop(self) -> None:
        """Stop calling the listener, even for bytes that have already been received."""
        self._is_stopped = True

    def close(self) -> None:
        """Free the buffer: nothing is received any more."""
        self._buffer = memoryview(b"")

    def received(self, size_bytes: int) -> None:
        """Parse the bytes that were put into space(); raises Violation."""
        self._end += size_bytes
        while not self._is_stopped and self._advance():
            pass
        self._keep_rest()

    def _keep_rest(self) -> None:
        """Move the bytes that are not parsed yet, at most part of a header, to the beginning of the buffer."""
        rest = bytes(self._buffer[self._start : self._end]) if self._start < self._end else b""
        if self._is_wide and len(self._buffer) < self._buffer_bytes:
            self._buffer = memoryview(bytearray(self._buffer_bytes))
        if rest:
            self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _advance(self) -> bool:
        """Parse one header or piece; False if that needs more bytes."""
        if self._kind == 0:
            return self._take_whole() or self._take_header()
        if self._kind != DATA:
            return self._collect()
        if self._value is None:
            return self._take_value_header()
        return self._take_value()

    def _take(self, size_bytes: int) -> memoryview:
        piece = self._buffer[self._start : self._start + size_bytes]
        self._start += size_bytes
        self.pdu_bytes += size_bytes
        return piece

    def _take_whole(self) -> bool:
        """Report a P-DATA-TF that has arrived whole and has one value, as nearly all have; False for anything else."""
        start = self._start
        if self._is_first or self._end - start < WHOLE_HEADER.size:
            return False
        kind, pdu_left, length, context_id, control = WHOLE_HEADER.unpack_from(self._buffer, start)
        start, end = start + WHOLE_HEADER.size, start + PDU_HEADER.size + pdu_left
        is_one_value = (
            kind == DATA and CONTROL_BYTES <= length == pdu_left - LENGTH_BYTES <= self._most_bytes - LENGTH_BYTES
        )
        if not is_one_value or end > self._end:
            return False
        self._start = end
        self.completed += 1
        self._listener.data_arrived(context_id, control, self._buffer[start:end], is_whole=True)
        return True

    def _take_header(self) -> bool:
        if self._end - self._start < PDU_HEADER.size:
            return False
        self._kind, self._pdu_left = PDU_HEADER.unpack(self._take(PDU_HEADER.size))
        self._check_header()
        self._is_first = False
        self._collected.clear()
        return True

    def _check_header(self) -> None:
        if self._kind not in (ASSOCIATE_RQ, DATA, RELEASE_RQ, ABORT):
            is_for_requestors = self._kind in (ASSOCIATE_AC, ASSOCIATE_RJ, RELEASE_RP)
            raise Violation("unexpected-pdu", 2) if is_for_requestors else Violation("unknown-pdu", 1)
        if self._is_first != (self._kind == ASSOCIATE_RQ) and self._kind != ABORT:
            raise Violation("unexpected-pdu", 2)
        if self._kind in (RELEASE_RQ, ABORT) and self._pdu_left != FIXED_BYTES:
            raise Violation("malformed-pdu", 6)
        if self._kind == DATA and self._pdu_left < VALUE_HEADER.size:
            # PS3.8 9.3.5: a P-DATA-TF has one value or more. Empty PDUs could keep an association open for ever.
            raise Violation("malformed-pdu", 6)
        if self._pdu_left > (self._first_bytes if self._is_first else self._most_bytes):
            raise Violation("pdu-too-long", 6)

    def _collect(self) -> bool:
        piece = self._take(min(self._pdu_left, self._end - self._start))
        self._collected += piece
        self._pdu_left -= len(piece)
        if self._pdu_left:
            return False
        kind = self._kind
        self._complete()
        self._report(kind)
        return True

    def _report(self, kind: int) -> None:
        if kind == ASSOCIATE_RQ:
            self._listener.associate_requested(PDU_HEADER.pack(kind, len(self._collected)) + bytes(self._collected))
        elif kind == RELEASE_RQ:
            self._listener.release_requested()
        else:
            self._listener.aborted()

    def _take_value_header(self) -> bool:
        if self._pdu_left == 0:
            self._complete()
            return True
        if self._pdu_left < VALUE_HEADER.size:
            raise Violation("malformed-pdu", 6)
        if self._end - self._start < VALUE_HEADER.size:
            return False
        length, context_id, control = VALUE_HEADER.unpack(self._take(VALUE_HEADER.size))
        # The length counts the context and the control header, not itself.
        self._value_left = length - 2
        self._pdu_left -= VALUE_HEADER.size
        if not 0 <= self._value_left <= self._pdu_left:
            raise Violation("malformed-pdu", 6)
        self._value = (context_id, control)
        return True

    def _take_value(self) -> bool:
        available = min(self._value_left, self._end - self._start)
        if self._value is None or (available == 0 and self._value_left):
            return False
        piece = self._take(available)
        self._value_left -= available
        self._pdu_left -= available
        (context_id, control), is_whole = self._value, self._value_left == 0
        if is_whole:
            self._value = None
        self._listener.data_arrived(context_id, control, piece, is_whole=is_whole)
        return True

    def _complete(self) -> None:
        self._kind = 0
        self.completed += 1
        self.pdu_bytes = 0


def abort_pdu(code: int) -> bytes:
    """Return an A-ABORT by the service provider with a reason of PS3.8 table 9-26."""
    return REASON_PDU.pack(ABORT, FIXED_BYTES, 0, 2, code)


def data_pdus(context_id: int, message: bytes, peer_pdu_bytes: int, kind: int = IS_COMMAND) -> bytes:
    """Pack a command set, or with `kind` 0 a data set, into P-DATA-TF PDUs of one even-sized value each.

    No PDU is longer than the peer's maximum (0: unlimited).
    """
    room = max(2, (peer_pdu_bytes - VALUE_HEADER.size) & ~1) if peer_pdu_bytes else len(message)
    return b"".join(
        _data_pdu(context_id, message[start : start + room], kind | (IS_LAST if start + room >= len(message) else 0))
        for start in range(0, len(message), room)
    )


def _data_pdu(context_id: int, piece: bytes, control: int) -> bytes:
    header = PDU_HEADER.pack(DATA, len(piece) + VALUE_HEADER.size)
    return header + VALUE_HEADER.pack(len(piece) + 2, context_id, control) + piece
