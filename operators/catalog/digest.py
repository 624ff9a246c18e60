"""The digest of what a study shows: equal sets, equal digests."""

from collections.abc import Iterable
from hashlib import sha256


def digest(shown: Iterable[tuple[str, str]], corrections: Iterable[str] = ()) -> str:
    """Return the hex sha256 over `SOP UID, space, data hash, newline` of each instance, sorted bytewise.

    The ids of the corrections in force follow, sorted, a line each. A series' digest is the same over its own.
    """
    lines = sorted(f"{sop_uid} {data_hash}\n".encode() for sop_uid, data_hash in shown)
    lines += sorted(f"{correction}\n".encode() for correction in corrections)
    return sha256(b"".join(lines)).hexdigest()
