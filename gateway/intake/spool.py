"""One data set as it arrives: hashed as it comes, in memory up to a bound, in a file beyond it."""

import mmap
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import google_crc32c
import numpy as np

from operators.errors import Rejected, Unavailable
from schemas.telemetry import GATEWAY_SPOOLED_BYTES

Buffer = bytes | bytearray | memoryview | mmap.mmap


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest."""


@dataclass
class Room:
    """How much a process may hold of data sets, in memory and in files, and how much it holds.

    What lies before a data set, or may turn out to, is held in memory too.
    """

    most_bytes: int
    held_bytes: int = 0
    most_spooled_bytes: int = sys.maxsize
    spooled_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """True if nothing new should begin."""
        return self.held_bytes >= self.most_bytes

    def hold(self, size_bytes: int) -> None:
        """Count so much more memory; less, when it is negative."""
        self.held_bytes += size_bytes

    def spool(self, size_bytes: int) -> None:
        """Count so much more in files; less, when it is negative; raises Unavailable("spool") when it is too much."""
        if size_bytes > 0 and self.spooled_bytes + size_bytes > self.most_spooled_bytes:
            raise Unavailable("spool")
        self.spooled_bytes += size_bytes
        GATEWAY_SPOOLED_BYTES.inc(size_bytes)


@dataclass(frozen=True)
class SpoolLimits:
    """What one data set may take: in memory, and at all; where it goes beyond the first."""

    memory_bytes: int
    most_bytes: int
    folder: Path


class Body:
    """The bytes of one data set. Its CRC32C begins with that of the prefix: it is the whole object's.

    Never raises while it is written to: what went wrong is kept in `failed`, since a sender may only be told
    once it has sent everything. A failed body keeps nothing.
    """

    def __init__(self, prefix: bytes, hasher: Hasher, room: Room, bounds: SpoolLimits) -> None:
        self.size_bytes = 0
        self.failed: Rejected | Unavailable | None = None
        self._hasher = hasher
        self._crc = google_crc32c.value(prefix)
        self._room = room
        self._bounds = bounds
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._held_bytes = self._spooled_bytes = 0
        self._hold(len(prefix))

    @property
    def data_hash(self) -> str:
        """Return the hash of the content so far, in hex."""
        return self._hasher.hexdigest()

    @property
    def crc32c(self) -> int:
        """Return the CRC32C of prefix and content so far."""
        return int(self._crc)

    def write(self, piece: memoryview) -> None:
        """Take the next bytes; the view may be reused afterwards."""
        self.size_bytes += len(piece)
        if self.failed is None and self.size_bytes > self._bounds.most_bytes:
            self.fail(Rejected("too-large"))
        if self.failed is not None:
            return
        self._hasher.update(piece)
        # google-crc32c refuses memoryviews, and takes an array over the same memory.
        self._crc = google_crc32c.extend(self._crc, np.frombuffer(piece, dtype=np.uint8))
        try:
            self._keep(piece)
        except OSError:
            self.fail(Unavailable("spool"))
        except Unavailable as error:
            self.fail(error)

    def fail(self, error: Rejected | Unavailable) -> None:
        """Keep nothing from here on: this is what the sender hears in the end."""
        self.failed = error
        self.close()

    @contextmanager
    def opened(self) -> Iterator[Buffer]:
        """Return the whole content for reading, without a copy."""
        if self._file is None:
            yield memoryview(self._memory)
            return
        try:
            self._file.flush()
            self._map = self._map or mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise Unavailable("spool") from error
        yield self._map

    def close(self) -> None:
        """Give back memory and file."""
        self._hold(-self._held_bytes)
        self._spool(-self._spooled_bytes)
        self._memory = bytearray()
        if self._file is not None:
            # Closed all the same when what it still buffers finds no room.
            with suppress(OSError):
                self._file.close()
        self._map = None
        self._file = None

    def _keep(self, piece: memoryview) -> None:
        if not piece or (self._file is None and self._fits(len(piece))):
            self._memory += piece
            self._hold(len(piece))
            return
        file = self._file or self._spill()
        self._spool(len(piece))
        file.write(piece)

    def _fits(self, size_bytes: int) -> bool:
        return len(self._memory) + size_bytes <= self._bounds.memory_bytes and not self._room.is_full

    def _spill(self) -> IO[bytes]:
        # A file that never has a name: a killed process leaves nothing behind.
        self._file = tempfile.TemporaryFile(dir=self._bounds.folder)  # noqa: SIM115 - closed with the body
        self._spool(len(self._memory))
        self._file.write(self._memory)
        self._hold(-len(self._memory))
        self._memory = bytearray()
        return self._file

    def _hold(self, size_bytes: int) -> None:
        self._room.hold(size_bytes)
        self._held_bytes += size_bytes

    def _spool(self, size_bytes: int) -> None:
        self._room.spool(size_bytes)
        self._spooled_bytes += size_bytes
