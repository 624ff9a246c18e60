"""Checks of the quarantine: every object that was refused as unreadable is kept, and has its row."""

from collections.abc import Iterator

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import ObjectSeen, QuarantineRow, Snapshot

# The statuses of refusals after which the bytes are quarantined.
QUARANTINED = frozenset({"C000", "A900"})


def quarantine(snapshot: Snapshot) -> Findings:
    """Find quarantined objects without their row, rows without their object, and either of what nobody sent."""
    rows = {f"{row.tenant}/{row.data_hash}": row for row in snapshot.quarantine_rows}
    for line in snapshot.ledger:
        key = f"{line.tenant}/{line.data_hash}"
        if line.state == "failed" and line.status in QUARANTINED and line.data_hash and key not in rows:
            yield Finding(key, "refused as unreadable, no row")
    for key in snapshot.quarantine_objects.keys() - rows.keys():
        yield Finding(key, "quarantined, no row")
    sent = {f"{line.tenant}/{line.data_hash}" for line in snapshot.ledger}
    is_blind = any(not line.data_hash for line in snapshot.ledger)
    for key, row in rows.items():
        if not is_blind and key not in sent:
            yield Finding(key, "row of content never sent")
        if row.state == "held":
            yield from (Finding(key, why) for why in unlike(row, key, snapshot.quarantine_objects.get(row.object_key)))
        elif row.object_key in snapshot.quarantine_objects:
            yield Finding(key, f"{row.state}, but its object is there")


def unlike(row: QuarantineRow, key: str, stored: ObjectSeen | None) -> Iterator[str]:
    """Yield the properties in which a quarantine row and its object disagree."""
    if stored is None:
        yield "row names no object"
        return
    if row.object_key != key:
        yield "key"
    if row.size_bytes != stored.size_bytes:
        yield "size"
    if stored.read and (stored.content is None or stored.content.data_hash != row.data_hash):
        yield "other bytes"
    elif stored.content and stored.content.prefix_hash != row.prefix_hash:
        yield "prefix hash"
