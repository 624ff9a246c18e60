"""The object that replaces a damaged one: the same data set, after the same prefix wherever that can be had.

For one content the catalog's row has the size, the prefix's hash and the places of frames of the object with the
greatest stored_at, while the least orders it among conflicting contents. With the first prefix the new object is byte
for byte the one that was stored, under the same envelope, and the row stays true. With another prefix the row must
change: so the envelope's stored_at is then one microsecond later, which leaves the order of conflicting contents as it
was.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import google_crc32c
import numpy as np

from gateway.intake.spool import Buffer
from gateway.intake.tiers import TieredObject, TieredStore
from operators.dicom import instance, part10
from operators.dicom.instance import Examination
from operators.errors import Rejected, Unreadable
from operators.store import checksum
from operators.store.ports import Upload
from schemas.objects import Envelope

TICK = timedelta(microseconds=1)
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class RepeatedInstance:
    """An instance that came again: the upload that was refused since its key exists, made of its prefix and data set."""

    upload: Upload
    prefix: bytes
    data: Buffer
    examination: Examination


async def replacement(tiers: TieredStore, found: TieredObject, repeat: RepeatedInstance) -> Upload:
    """Return what to store in place of a damaged object. Raises Unavailable when the store does not answer."""
    prefix = await _first_prefix(tiers, found, repeat)
    envelope = _envelope(found.envelope, repeat.upload.envelope, prefix)
    crc32c = repeat.upload.crc32c
    if prefix != repeat.prefix:
        crc32c = await asyncio.to_thread(_crc32c, prefix, repeat.data)
    return Upload(found.key, (prefix, memoryview(repeat.data)), len(prefix) + len(repeat.data), crc32c, envelope)


async def _first_prefix(tiers: TieredStore, found: TieredObject, repeat: RepeatedInstance) -> bytes:
    """Return the prefix of the object that was stored first; the repeat's own prefix if that one cannot be had.

    It may be the repeat's, it may be the one that C-STORE makes, and the damage may have left it readable.
    """
    if found.envelope is None:
        return await _prefix_without_envelope(tiers, found, repeat)
    wanted = found.envelope.prefix_hash
    for prefix in (repeat.prefix, _own_prefix(repeat)):
        if instance.prefix_hash(prefix) == wanted:
            return prefix
    prefix = await _read(tiers, found, found.envelope.prefix_length)
    return prefix if instance.prefix_hash(prefix) == wanted else repeat.prefix


async def _prefix_without_envelope(tiers: TieredStore, found: TieredObject, repeat: RepeatedInstance) -> bytes:
    """Return the stored bytes before a data set of this length, if they are a prefix for its transfer syntax."""
    prefix = await _read(tiers, found, max(found.size_bytes - len(repeat.data), 0))
    with suppress(Rejected):
        meta = part10.split_part10(prefix)
        if (meta.prefix_length, meta.transfer_syntax) == (len(prefix), repeat.upload.envelope.transfer_syntax):
            return prefix
    return repeat.prefix


async def _read(tiers: TieredStore, found: TieredObject, end: int) -> bytes:
    """Return the object's bytes up to `end`, exclusive; fewer when no more can be read, or no prefix is as long."""
    read = bytearray()
    with suppress(Unreadable, KeyError):
        async for chunk in tiers.read(found, min(end, part10.MAX_BEGINNING_BYTES)):
            read += chunk
    return bytes(read)


def _own_prefix(repeat: RepeatedInstance) -> bytes:
    examined, transfer_syntax = repeat.examination, repeat.upload.envelope.transfer_syntax
    with suppress(Rejected):
        return part10.part10_prefix(examined.sop_class, examined.sop_uid, transfer_syntax)
    return b""


def _envelope(first: Envelope | None, repeated: Envelope, prefix: bytes) -> Envelope:
    """Return the first envelope for this prefix; the repeat's if the first one is lost."""
    envelope = replace(
        first or repeated,
        transfer_syntax=repeated.transfer_syntax,
        prefix_length=len(prefix),
        prefix_hash=instance.prefix_hash(prefix),
        header_length=repeated.header_length - repeated.prefix_length + len(prefix),
    )
    if first is None or first.prefix_hash == envelope.prefix_hash:
        return envelope
    return replace(envelope, stored_at=first.stored_at + TICK)


def _crc32c(prefix: bytes, data: Buffer) -> str:
    crc, view = google_crc32c.value(prefix), memoryview(data)
    # In pieces, so that other threads come to their turn.
    for offset in range(0, len(view), CHUNK_BYTES):
        # google-crc32c refuses a memoryview, but takes an array over the same memory.
        crc = google_crc32c.extend(crc, np.frombuffer(view[offset : offset + CHUNK_BYTES], dtype=np.uint8))
    return checksum.written(int(crc))
