"""The bytes of a data set that is being received, hashed as they arrive; held in memory or, beyond a limit, in a file."""

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

# How many bytes of a body in memory may wait to be hashed. Hashing pushes our code out of the processor's caches, so a CT
# slice is hashed once, not once for each of the pieces that it arrives in.
UNHASHED_BYTES = 2**20


class Hasher(Protocol):
    """A hash that takes its input in pieces, as those of hashlib do."""

    def update(self, data: Buffer, /) -> None:
        """Add bytes to the input."""

    def hexdigest(self) -> str:
        """Return the hash of the input so far, in hex."""


@dataclass
class Room:
    """The room that one process has for data sets, in memory and in files, and how much of it is taken.

    The prefix of a data set takes memory too, and so do bytes that may still prove to be a prefix.
    """

    most_bytes: int
    held_bytes: int = 0
    most_spooled_bytes: int = sys.maxsize
    spooled_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """True if the memory is used up, so that no association or request should begin."""
        return self.held_bytes >= self.most_bytes

    def hold(self, size_bytes: int) -> None:
        """Take memory, or free it when size_bytes is negative. Never refuses: a data set that has begun goes on."""
        self.held_bytes += size_bytes

    def spool(self, size_bytes: int) -> None:
        """Take room in files, or free it when size_bytes is negative; raises Unavailable("spool") when there is none."""
        if size_bytes > 0 and self.spooled_bytes + size_bytes > self.most_spooled_bytes:
            raise Unavailable("spool")
        self.spooled_bytes += size_bytes
        GATEWAY_SPOOLED_BYTES.inc(size_bytes)


@dataclass(frozen=True)
class SpoolLimits:
    """The most bytes that one data set may have in memory and in total, and the folder for files."""

    memory_bytes: int
    most_bytes: int
    folder: Path


class Body:
    """The bytes of one data set. Its CRC32C is the whole object's: that of the prefix and the data set.

    `write` never raises: a failure is kept in `failed`, since a sender can be answered only after it has sent
    everything. A failed body holds no bytes.
    """

    def __init__(self, prefix: bytes, hasher: Hasher, room: Room, limits: SpoolLimits) -> None:
        self.size_bytes = 0
        self.failed: Rejected | Unavailable | None = None
        self._hasher = hasher
        self._crc = google_crc32c.value(prefix)
        self._room = room
        self._limits = limits
        self._memory = bytearray()
        # How many bytes of `_memory` are hashed.
        self._hashed_bytes = 0
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._held_bytes = self._spooled_bytes = 0
        self._hold(len(prefix))

    @property
    def data_hash(self) -> str:
        """Return the hash of the data set so far, in hex."""
        self._hash_memory()
        return self._hasher.hexdigest()

    @property
    def whole_hash(self) -> str | None:
        """Return the hash of the whole data set, in hex; None if its bytes were dropped before its end."""
        return None if self.failed is not None else self.data_hash

    @property
    def crc32c(self) -> int:
        """Return the CRC32C of the prefix and the data set so far."""
        self._hash_memory()
        return int(self._crc)

    def write(self, piece: memoryview) -> None:
        """Add the next bytes; the view may be reused afterwards."""
        self.size_bytes += len(piece)
        if self.failed is None and self.size_bytes > self._limits.most_bytes:
            self.fail(Rejected("too-large"))
        if self.failed is not None or not piece:
            return
        if self._file is None and self.size_bytes <= self._limits.memory_bytes and not self._room.is_full:
            # The hot path, with few calls: all of a CT slice.
            self._memory += piece
            self._hold(len(piece))
            if self.size_bytes - self._hashed_bytes >= UNHASHED_BYTES:
                self._hash_memory()
            return
        try:
            self._keep_in_file(piece)
        except OSError:
            self.fail(Unavailable("spool"))
        except Unavailable as error:
            self.fail(error)

    def fail(self, error: Rejected | Unavailable) -> None:
        """Free all bytes and hold no more; `error` is the answer to the sender once it has sent everything."""
        self.failed = error
        self.close()

    @contextmanager
    def opened(self) -> Iterator[Buffer]:
        """Yield the whole data set for reading, without a copy; raises Unavailable("spool") when the disk fails or is full."""
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
        """Free the memory and the file; the hashes stay. May be called more than once."""
        if self.failed is None:
            self._hash_memory()
        self._hold(-self._held_bytes)
        self._spool(-self._spooled_bytes)
        self._forget_memory()
        if self._file is not None:
            # A flush that fails on a full disk must not raise here; the file is closed all the same.
            with suppress(OSError):
                self._file.close()
        self._map = None
        self._file = None

    def _keep_in_file(self, piece: memoryview) -> None:
        file = self._file or self._spill()
        self._spool(len(piece))
        self._hash(piece)
        file.write(piece)

    def _spill(self) -> IO[bytes]:
        # A file without a name: a killed process leaves nothing behind.
        self._file = tempfile.TemporaryFile(dir=self._limits.folder)  # noqa: SIM115 - closed with the body
        self._spool(len(self._memory))
        self._hash_memory()
        self._file.write(self._memory)
        self._hold(-len(self._memory))
        self._forget_memory()
        return self._file

    def _hash_memory(self) -> None:
        """Hash what is in memory and not hashed yet."""
        if self._hashed_bytes < len(self._memory):
            self._hash(memoryview(self._memory)[self._hashed_bytes :])
            self._hashed_bytes = len(self._memory)

    def _hash(self, piece: memoryview) -> None:
        self._hasher.update(piece)
        # google-crc32c refuses a memoryview, but takes an array over the same memory.
        self._crc = google_crc32c.extend(self._crc, np.frombuffer(piece, dtype=np.uint8))

    def _forget_memory(self) -> None:
        self._memory, self._hashed_bytes = bytearray(), 0

    def _hold(self, size_bytes: int) -> None:
        self._room.hold(size_bytes)
        self._held_bytes += size_bytes

    def _spool(self, size_bytes: int) -> None:
        self._room.spool(size_bytes)
        self._spooled_bytes += size_bytes
