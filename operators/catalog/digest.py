"""The digest of the instances that a study shows: equal sets have equal digests."""

from collections.abc import Iterable
from hashlib import sha256


def digest(shown: Iterable[tuple[str, str]], corrections: Iterable[str] = ()) -> str:
    """Return the hex sha256 over a line `SOP UID, space, data hash, newline` for each shown instance, sorted bytewise.

    The ids of the corrections in force follow, sorted, a line each. A series' digest is made the same way from its own
    instances.
    """
    lines = sorted(f"{sop_uid} {data_hash}\n".encode() for sop_uid, data_hash in shown)
    lines += sorted(f"{correction}\n".encode() for correction in corrections)
    return sha256(b"".join(lines)).hexdigest()
