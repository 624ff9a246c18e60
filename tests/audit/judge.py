"""What the auditor finds wrong in what it saw: a pure function from a snapshot to a verdict.

Written from the invariants alone (README, "What must never break"); it imports nothing of the product, so that it
cannot share its mistakes.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.audit.ledger import Line


class Name(NamedTuple):
    """An instance: one SOP UID under two studies is two instances."""

    tenant: str
    study_uid: str
    sop_uid: str

    def __str__(self) -> str:
        return "/".join(self)


class Study(NamedTuple):
    """A study."""

    tenant: str
    study_uid: str

    def __str__(self) -> str:
        return "/".join(self)


class Series(NamedTuple):
    """A series."""

    tenant: str
    study_uid: str
    series_uid: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True)
class Content:
    """What the bytes of an object say: hashes computed anew, and what lay beside it.

    `after_header` is the tag where the envelope says that the header ends: empty at the end of the object, None beyond
    it or where the data set is deflated and says nothing.
    """

    data_hash: str
    prefix_hash: str
    prefix_length: int
    transfer_syntax: str
    after_header: bytes | None
    envelope: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """An object in one of the instance buckets; content None when its bytes were not read or are no Part 10 file."""

    key: str
    size_bytes: int
    read: bool = False
    content: Content | None = None


@dataclass(frozen=True)
class Row:
    """An instance's row in the catalog."""

    name: Name
    series_uid: str
    sop_class: str
    data_hash: str
    object_key: str
    size_bytes: int
    prefix_hash: str
    prefix_length: int
    header_length: int


@dataclass(frozen=True)
class Counts:
    """What a study's or series' row, or QIDO's answer, says of what is below; None where it does not say."""

    instances: int | None = None
    size_bytes: int | None = None
    series: int | None = None
    modalities: tuple[str, ...] | None = None
    sop_classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Revision:
    """A revision as its row, or as study-settled, tells it."""

    study: Study
    number: int
    version: int
    digest: str
    instances: int
    size_bytes: int
    series: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    event_id: str = ""


@dataclass(frozen=True)
class Announced:
    """An instance-stored event."""

    name: Name
    data_hash: str
    object_key: str
    event_id: str


@dataclass(frozen=True)
class Aside:
    """A quarantine row: what was refused and is kept aside, or was until someone let it go."""

    tenant: str
    data_hash: str
    state: str
    object_key: str
    size_bytes: int
    prefix_hash: str


@dataclass(frozen=True)
class Snapshot:
    """Everything the auditor saw, from every place, at one time."""

    ledger: tuple[Line, ...] = ()
    objects: Mapping[str, Stored] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    losers: frozenset[str] = frozenset()
    conflicts: tuple[tuple[Name, str], ...] = ()
    raised: frozenset[tuple[Name, str]] = frozenset()
    aside: tuple[Aside, ...] = ()
    aside_objects: Mapping[str, Stored] = field(default_factory=dict)
    study_counts: Mapping[Study, Counts] = field(default_factory=dict)
    series_counts: Mapping[Series, Counts] = field(default_factory=dict)
    series_modality: Mapping[Series, str | None] = field(default_factory=dict)
    revisions: tuple[Revision, ...] = ()
    settled: tuple[Revision, ...] = ()
    announced: tuple[Announced, ...] = ()
    unreadable: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    answered: tuple[Name, ...] = ()
    answered_studies: tuple[tuple[Study, Counts], ...] = ()
    answered_series: tuple[tuple[Series, Counts], ...] = ()
    fetched: Mapping[Name, str] = field(default_factory=dict)
    put_off: int = 0
    leaks: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong: which (UIDs, keys or places, never a value) and why."""

    subject: str
    why: str


Findings = Iterator[Finding]


@dataclass(frozen=True)
class Verdict:
    """What is wrong, by set, and how much was looked at."""

    sets: Mapping[str, tuple[Finding, ...]]
    seen: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """True if nothing is wrong."""
        return not any(self.sets.values())

    @property
    def line(self) -> str:
        """Say it in one line."""
        acked = f"{self.seen['acked']} acknowledged of {self.seen['planned']} sent"
        acked += f", {put_off} reads put off with 503" if (put_off := self.seen["put off with 503"]) else ""
        if self.clean:
            return f"clean: {acked}, {self.seen['hashed']} objects hashed, {self.seen['revisions']} revisions"
        wrong = ", ".join(f"{len(found)} {name}" for name, found in self.sets.items() if found)
        return f"NOT CLEAN: {wrong} ({acked})"

    def to_json(self) -> dict[str, Any]:
        """Give it for a file."""
        sets = {name: [vars(one) for one in found] for name, found in self.sets.items()}
        return {"verdict": self.line, "clean": self.clean, "seen": dict(self.seen), "sets": sets}


def judge(snapshot: Snapshot) -> Verdict:
    """Say everything that is wrong in what was seen."""
    sets = {name: tuple(sorted(set(find(snapshot)))) for name, find in SETS.items()}
    return Verdict(sets, seen(snapshot))


def seen(snapshot: Snapshot) -> dict[str, int]:
    """Count what was looked at."""
    return {
        "planned": len(snapshot.ledger),
        "acked": len(acked(snapshot)),
        "objects": len(snapshot.objects),
        "hashed": sum(one.read for one in snapshot.objects.values()),
        "rows": len(snapshot.rows),
        "conflicts": len(snapshot.losers),
        "aside": len(snapshot.aside),
        "studies": len(snapshot.study_counts),
        "revisions": len(snapshot.revisions),
        "settled": len(snapshot.settled),
        "announced": len(snapshot.announced),
        "rejected": len(snapshot.rejected),
        "answered": len(snapshot.answered),
        "fetched": len(snapshot.fetched),
        "put off with 503": snapshot.put_off,
    }


def acked(snapshot: Snapshot) -> list[Line]:
    """List what the archive has promised to keep."""
    return [line for line in snapshot.ledger if line.state == "acked"]


def name_of(line: Line) -> Name:
    """Return the instance that a ledger line is about."""
    return Name(line.tenant, line.study_uid, line.sop_uid)


def key_of(line: Line) -> str:
    """Return the key under which its object must lie (README, "Where things lie")."""
    return f"{line.tenant}/{line.study_uid}/{line.series_uid}/{line.sop_uid}_{line.data_hash}.dcm"


def lost(snapshot: Snapshot) -> Findings:
    """I1: what was acknowledged lies in the store, hash-equal."""
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
    """I2: what was acknowledged has its row, and QIDO answers it."""
    rows = {row.name for row in snapshot.rows}
    contents = {(row.name, row.data_hash) for row in snapshot.rows}
    answered = set(snapshot.answered)
    for line in acked(snapshot):
        name = name_of(line)
        if name not in rows:
            yield Finding(str(name), "no row")
        elif line.data_hash and (name, line.data_hash) not in contents and key_of(line) not in snapshot.losers:
            yield Finding(str(name), "row of other content, no conflict")
        if name not in answered:
            yield Finding(str(name), "not in QIDO")


def doubled(snapshot: Snapshot) -> Findings:
    """I2: exactly once, in rows and in QIDO's answers."""
    places = {
        "in QIDO": snapshot.answered,
        "among rows": [row.name for row in snapshot.rows],
        "studies in QIDO": [study for study, _ in snapshot.answered_studies],
        "series in QIDO": [series for series, _ in snapshot.answered_series],
    }
    for place, names in places.items():
        for name, times in Counter(map(str, names)).items():
            if times > 1:
                yield Finding(name, f"{times} times {place}")


def phantom(snapshot: Snapshot) -> Findings:
    """I2: nothing is shown that nobody sent; what was sent without a good answer may be there."""
    sent = {name_of(line) for line in snapshot.ledger}
    contents = {(name_of(line), line.series_uid, line.data_hash) for line in snapshot.ledger if line.data_hash}
    unknown = {name_of(line) for line in snapshot.ledger if not line.data_hash}
    for row in snapshot.rows:
        if row.name not in sent:
            yield Finding(str(row.name), "row of nothing sent")
        elif row.name not in unknown and (row.name, row.series_uid, row.data_hash) not in contents:
            yield Finding(str(row.name), "row of content never sent")
    for name in set(snapshot.answered) - sent:
        yield Finding(str(name), "in QIDO, never sent")


def orphan(snapshot: Snapshot) -> Findings:
    """Objects that no row and no conflict names, after the sweeper's bound."""
    named_in_catalog = {row.object_key for row in snapshot.rows} | snapshot.losers
    for key in snapshot.objects.keys() - named_in_catalog:
        yield Finding(key, "no row names it")


def mismatch(snapshot: Snapshot) -> Findings:
    """I3, F9: the catalog, the store and WADO agree on the bytes."""
    for row in snapshot.rows:
        stored = snapshot.objects.get(row.object_key)
        for why in ["row names no object"] if stored is None else differences(row, stored):
            yield Finding(str(row.name), why)
    shown = {row.name: row.data_hash for row in snapshot.rows}
    for name, fetched in snapshot.fetched.items():
        if fetched != shown.get(name):
            yield Finding(
                str(name), f"WADO answers {fetched}" if fetched.startswith("status") else "WADO gives other bytes"
            )


def differences(row: Row, stored: Stored) -> Iterator[str]:
    """Return where a row and its object disagree."""
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


# (7FE0,0008), (7FE0,0009), (7FE0,0010) in both byte orders; an object without pixels is all header.
PIXEL_TAGS = ("e07f0800", "e07f0900", "e07f1000", "7fe00008", "7fe00009", "7fe00010")
PIXELS = {b""} | {bytes.fromhex(tag) for tag in PIXEL_TAGS}
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"}


def closures(snapshot: Snapshot) -> Findings:
    """I4: every revision is announced once, in order, and the last one is the study as it is now."""
    yield from announcements(snapshot)
    chains: dict[Study, list[Revision]] = defaultdict(list)
    for revision in sorted(snapshot.revisions, key=lambda one: one.number):
        chains[revision.study].append(revision)
    for study, chain in chains.items():
        yield from (Finding(str(study), why) for why in broken(chain))
    shown = by_study(snapshot.rows)
    for study in shown.keys() | chains.keys():
        last = chains[study][-1] if study in chains else None
        yield from (Finding(str(study), why) for why in stale(last, shown.get(study, [])))


def announcements(snapshot: Snapshot) -> Findings:
    """Compare the settled events with the revision rows."""
    rows = {(one.study, one.number): one for one in snapshot.revisions}
    events: dict[tuple[Study, int], set[Revision]] = defaultdict(set)
    ids: dict[tuple[Study, int], set[str]] = defaultdict(set)
    for event in snapshot.settled:
        at = event.study, event.number
        ids[at].add(event.event_id)
        if at not in rows:
            yield Finding(f"{event.study} revision {event.number}", "announced, no row")
        elif told(event) != told(rows[at]):
            yield Finding(f"{event.study} revision {event.number}", "announced otherwise than its row")
        events[at]
    for (study, number), found in ids.items():
        if len(found) > 1:
            yield Finding(f"{study} revision {number}", f"announced as {len(found)} events")
    for study, number in rows.keys() - events.keys():
        yield Finding(f"{study} revision {number}", "never announced")


def told(revision: Revision) -> tuple[Any, ...]:
    """Return what row and event must both say."""
    return revision.version, revision.digest, revision.instances, revision.size_bytes, dict(revision.series)


def broken(chain: list[Revision]) -> Iterator[str]:
    """Return what is wrong between a study's revisions, given in order."""
    if [one.number for one in chain] != list(range(1, len(chain) + 1)):
        yield "revisions not 1, 2, 3"
    for before, after in itertools.pairwise(chain):
        if after.digest == before.digest:
            yield f"revision {after.number} changes nothing"
        if after.version <= before.version:
            yield f"revision {after.number} has no higher version"
        if after.instances < before.instances:
            yield f"revision {after.number} has fewer instances"


def stale(last: Revision | None, rows: list[Row]) -> Iterator[str]:
    """Return where the last revision is not the study as its rows are now."""
    if last is None:
        yield "never settled"
        return
    if last.digest != digest(rows):
        yield "last revision's digest is not that of the rows"
    if (last.instances, last.size_bytes) != (len(rows), sum(row.size_bytes for row in rows)):
        yield "last revision's counts are not those of the rows"
    now = {uid: (len(of), digest(of)) for uid, of in grouped(rows, lambda row: row.series_uid).items()}
    if last.series and dict(last.series) != now:
        yield "last revision's series are not those of the rows"


def digest(rows: Iterable[Row]) -> str:
    """Return the sha256 over lines of SOP UID, space, data hash, sorted bytewise."""
    lines = sorted(f"{row.name.sop_uid} {row.data_hash}\n".encode() for row in rows)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def drift(snapshot: Snapshot) -> Findings:
    """I13: derived counts equal recounts, in the catalog and in QIDO's answers."""
    studies, series = recounted(snapshot)
    pairs: tuple[tuple[str, Mapping[Any, Counts], Iterable[tuple[Any, Counts]]], ...] = (
        ("study row", studies, snapshot.study_counts.items()),
        ("series row", series, snapshot.series_counts.items()),
        ("study in QIDO", studies, snapshot.answered_studies),
        ("series in QIDO", series, snapshot.answered_series),
    )
    for place, true, told_counts in pairs:
        for name, said in told_counts:
            for what in wrong(said, true.get(name, NOTHING)):
                yield Finding(str(name), f"{what} of {place}")
    for place, true, present in (
        ("study row", studies, snapshot.study_counts.keys()),
        ("series row", series, snapshot.series_counts.keys()),
    ):
        for name in true.keys() - present:
            yield Finding(str(name), f"no {place}")


NOTHING = Counts(instances=0, size_bytes=0, series=0, modalities=(), sop_classes=())


def wrong(said: Counts, true: Counts) -> Iterator[str]:
    """Name the counts that are said, and said wrongly."""
    for what, value in vars(said).items():
        if value is not None and getattr(true, what) is not None and value != getattr(true, what):
            yield what


def recounted(snapshot: Snapshot) -> tuple[dict[Study, Counts], dict[Series, Counts]]:
    """Count anew from the instances' rows."""
    by_series = grouped(snapshot.rows, lambda row: Series(row.name.tenant, row.name.study_uid, row.series_uid))
    series = {
        name: Counts(instances=len(rows), size_bytes=sum(row.size_bytes for row in rows))
        for name, rows in by_series.items()
    }
    studies = {}
    for study, rows in by_study(snapshot.rows).items():
        modalities = {snapshot.series_modality.get(Series(*study, row.series_uid)) for row in rows}
        studies[study] = Counts(
            instances=len(rows),
            size_bytes=sum(row.size_bytes for row in rows),
            series=len({row.series_uid for row in rows}),
            modalities=tuple(sorted(one for one in modalities if one)),
            sop_classes=tuple(sorted({row.sop_class for row in rows})),
        )
    return studies, series


def unbacked(snapshot: Snapshot) -> Findings:
    """The one inconsistency that must never be: an event without its object."""
    for event in snapshot.announced:
        if event.object_key not in snapshot.objects:
            yield Finding(str(event.name), "announced, no object")


# The failures after which the bytes are kept, for an operator to look at (README, "What a sender hears").
KEPT_ASIDE = frozenset({"C000", "A900"})


def aside(snapshot: Snapshot) -> Findings:
    """What was refused as unreadable is kept: an object under its hash, a row that names it, nothing that nobody sent."""
    rows = {f"{row.tenant}/{row.data_hash}": row for row in snapshot.aside}
    for line in snapshot.ledger:
        key = f"{line.tenant}/{line.data_hash}"
        if line.state == "failed" and line.status in KEPT_ASIDE and line.data_hash and key not in rows:
            yield Finding(key, "refused as unreadable, no row")
    for key in snapshot.aside_objects.keys() - rows.keys():
        yield Finding(key, "kept aside, no row")
    sent = {f"{line.tenant}/{line.data_hash}" for line in snapshot.ledger}
    is_blind = any(not line.data_hash for line in snapshot.ledger)
    for key, row in rows.items():
        if not is_blind and key not in sent:
            yield Finding(key, "row of content never sent")
        if row.state == "held":
            yield from (Finding(key, why) for why in unlike(row, key, snapshot.aside_objects.get(row.object_key)))


def unlike(row: Aside, key: str, stored: Stored | None) -> Iterator[str]:
    """Return where a quarantine row and its object disagree."""
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


def unraised(snapshot: Snapshot) -> Findings:
    """Other bytes under one UID are never kept silently: each conflict was announced."""
    for name, data_hash in snapshot.conflicts:
        if (name, data_hash) not in snapshot.raised:
            yield Finding(str(name), "a conflict that was never announced")


def unreadable(snapshot: Snapshot) -> Findings:
    """I5: every record decodes with its schema."""
    for place in snapshot.unreadable:
        yield Finding(place, "no schema reads it")


def phi(snapshot: Snapshot) -> Findings:
    """I8: no patient data outside its stores."""
    for place in snapshot.leaks:
        yield Finding(place, "a patient's token")


SETS: Mapping[str, Callable[[Snapshot], Findings]] = {
    "lost": lost,
    "unindexed": unindexed,
    "doubled": doubled,
    "phantom": phantom,
    "orphan": orphan,
    "mismatch": mismatch,
    "closures": closures,
    "drift": drift,
    "unbacked": unbacked,
    "aside": aside,
    "unraised": unraised,
    "unreadable": unreadable,
    "phi": phi,
}


def named(key: str) -> Name:
    """Return the instance that a key names."""
    tenant, study_uid, _, file = [*key.split("/"), "", "", ""][:4]
    return Name(tenant, study_uid, file.split("_")[0])


def by_study(rows: Iterable[Row]) -> dict[Study, list[Row]]:
    """Group rows by study."""
    return grouped(rows, lambda row: Study(row.name.tenant, row.name.study_uid))


def grouped(rows: Iterable[Row], by: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Group rows."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[by(row)].append(row)
    return dict(groups)


def leaks(tokens: Iterable[str], sinks: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Return the places, from (place, bytes), in which a token stands, in any case."""
    wanted = [token.lower().encode() for token in tokens if token]
    for place, data in sinks:
        folded = data.lower()
        if any(token in folded for token in wanted):
            yield place
