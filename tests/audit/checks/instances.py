"""Checks of instances: each acknowledged one is stored, catalogued, queryable and retrievable, exactly once."""

from collections import Counter
from collections.abc import Iterator

from tests.audit.checks.decisions import objects_without_row
from tests.audit.finding import Finding, Findings
from tests.audit.ledger import Line
from tests.audit.snapshot import InstanceRow, ObjectSeen, Snapshot, key_of, name_of, named, study_of

# What WADO answers about an instance of a deleted study.
HIDDEN = "status 404"


def acked(snapshot: Snapshot) -> list[Line]:
    """Return the ledger lines of what the archive acknowledged."""
    return [line for line in snapshot.ledger if line.state == "acked"]


def lost(snapshot: Snapshot) -> Findings:
    """Find acknowledged instances that are not in the store with the hash that was sent (I1)."""
    by_name = {named(key) for key in snapshot.objects}
    for line in acked(snapshot):
        stored = snapshot.objects.get(key_of(line))
        if not line.data_hash:
            if name_of(line) not in by_name:
                yield Finding(str(name_of(line)), "no object")
        elif stored is None:
            yield Finding(str(name_of(line)), "no object")
        elif stored.read and (stored.content is None or stored.content.data_hash != line.data_hash):
            yield Finding(str(name_of(line)), "other bytes")


def unindexed(snapshot: Snapshot) -> Findings:
    """Find acknowledged instances without a row, or missing in QIDO's answers (I2)."""
    rows = {row.name for row in snapshot.rows}
    contents = {(row.name, row.data_hash) for row in snapshot.rows}
    answered = set(snapshot.qido_instances)
    for line in acked(snapshot):
        name = name_of(line)
        if name not in rows:
            yield Finding(str(name), "no row")
        elif line.data_hash and (name, line.data_hash) not in contents and key_of(line) not in snapshot.conflict_keys:
            yield Finding(str(name), "row of other content, no conflict")
        if name not in answered and study_of(name) not in snapshot.deleted:
            yield Finding(str(name), "not in QIDO")


def doubled(snapshot: Snapshot) -> Findings:
    """Find what is there more than once, in rows or in QIDO's answers (I2)."""
    places = {
        "in QIDO": snapshot.qido_instances,
        "among rows": [row.name for row in snapshot.rows],
        "named by rows": [row.object_key for row in snapshot.rows],
        "studies in QIDO": [study for study, _ in snapshot.qido_studies],
        "series in QIDO": [series for series, _ in snapshot.qido_series],
    }
    for place, names in places.items():
        for name, times in Counter(map(str, names)).items():
            if times > 1:
                yield Finding(name, f"{times} times {place}")


def phantom(snapshot: Snapshot) -> Findings:
    """Find what is shown though nobody sent it (I2); what was sent and not acknowledged may be shown."""
    sent = {name_of(line) for line in snapshot.ledger}
    contents = {(name_of(line), line.series_uid, line.data_hash) for line in snapshot.ledger if line.data_hash}
    unknown = {name_of(line) for line in snapshot.ledger if not line.data_hash}
    for row in snapshot.rows:
        if row.name not in sent:
            yield Finding(str(row.name), "row of nothing sent")
        elif row.name not in unknown and (row.name, row.series_uid, row.data_hash) not in contents:
            yield Finding(str(row.name), "row of content never sent")
    for name in set(snapshot.qido_instances) - sent:
        yield Finding(str(name), "in QIDO, never sent")
    for name in snapshot.qido_instances:
        if study_of(name) in snapshot.deleted:
            yield Finding(str(name), "in QIDO, deleted")


def orphan(snapshot: Snapshot) -> Findings:
    """Find objects that no row and no conflict names."""
    named_in_catalog = {row.object_key for row in snapshot.rows} | snapshot.conflict_keys
    for key in snapshot.objects.keys() - named_in_catalog:
        yield Finding(key, "no row names it")
    yield from objects_without_row(snapshot)


def mismatch(snapshot: Snapshot) -> Findings:
    """Find instances on whose bytes the catalog, the store and WADO do not agree (I3, F9)."""
    for row in snapshot.rows:
        stored = snapshot.objects.get(row.object_key)
        for why in ["row names no object"] if stored is None else differences(row, stored):
            yield Finding(str(row.name), why)
    shown = {row.name: row.data_hash for row in snapshot.shown_rows}
    for name, fetched in snapshot.wado_hashes.items():
        if fetched != (HIDDEN if study_of(name) in snapshot.deleted else shown.get(name)):
            yield Finding(
                str(name), f"WADO answers {fetched}" if fetched.startswith("status") else "WADO gives other bytes"
            )


def differences(row: InstanceRow, stored: ObjectSeen) -> Iterator[str]:
    """Yield the properties in which a row and its object disagree."""
    if row.size_bytes != stored.size_bytes:
        yield "size"
    if not row.object_key.endswith(f"/{row.series_uid}/{row.name.sop_uid}_{row.data_hash}.dcm"):
        yield "key"
    if not stored.read:
        return
    if stored.content is None:
        yield "no Part 10 file"
        return
    content = stored.content
    pairs = {
        "data hash": (row.data_hash, content.data_hash),
        "prefix hash": (row.prefix_hash, content.prefix_hash),
        "prefix length": (row.prefix_length, content.prefix_length),
        "envelope's prefix hash": (content.envelope.get("prefix-hash"), content.prefix_hash),
        "envelope's prefix length": (content.envelope.get("prefix-length"), str(content.prefix_length)),
        "envelope's header length": (content.envelope.get("header-length"), str(row.header_length)),
    }
    yield from (what for what, (said, found) in pairs.items() if said != found)
    if content.after_header not in PIXELS and content.transfer_syntax not in DEFLATED:
        yield "header length"


# (7FE0,0008), (7FE0,0009), (7FE0,0010) in both byte orders; without pixels the header ends with the object.
PIXEL_TAGS = ("e07f0800", "e07f0900", "e07f1000", "7fe00008", "7fe00009", "7fe00010")
PIXELS = {b""} | {bytes.fromhex(tag) for tag in PIXEL_TAGS}
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"}
