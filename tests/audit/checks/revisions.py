"""Checks of revisions: each is announced once, in order, and the last one is the study as it is now."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import InstanceRow, Revision, Snapshot, Study, by_study, grouped


def closures(snapshot: Snapshot) -> Findings:
    """Find revisions that are not announced once and in order, and last ones that are not the study as it is (I4)."""
    yield from announcements(snapshot)
    chains: dict[Study, list[Revision]] = defaultdict(list)
    for revision in sorted(snapshot.revisions, key=lambda one: one.number):
        chains[revision.study].append(revision)
    for study, chain in chains.items():
        yield from (Finding(str(study), why) for why in broken(chain))
    shown = by_study(snapshot.shown_rows)
    for study in shown.keys() | chains.keys():
        last = chains[study][-1] if study in chains else None
        yield from (Finding(str(study), why) for why in stale(last, shown.get(study, [])))


def announcements(snapshot: Snapshot) -> Findings:
    """Find where study-settled events and revision rows disagree."""
    rows = {(one.study, one.number): one for one in snapshot.revisions}
    settled_events = snapshot.settled_events
    if snapshot.restored:
        yield from not_outranked(snapshot)
        settled_events = with_rows(snapshot)
    settled_events = tuple(one for one in settled_events if not is_outranked(one, rows.get((one.study, one.number))))
    events: dict[tuple[Study, int], set[Revision]] = defaultdict(set)
    ids: dict[tuple[Study, int], set[str]] = defaultdict(set)
    for event in settled_events:
        at = event.study, event.number
        ids[at].add(event.event_id)
        if at not in rows:
            yield Finding(f"{event.study} revision {event.number}", "announced, no row")
        elif shared_fields(event) != shared_fields(rows[at]):
            yield Finding(f"{event.study} revision {event.number}", "announced otherwise than its row")
        events[at]
    for (study, number), found in ids.items():
        if len(found) > 1:
            yield Finding(f"{study} revision {number}", f"announced as {len(found)} events")
    for study, number in rows.keys() - events.keys():
        yield Finding(f"{study} revision {number}", "never announced")


def is_outranked(event: Revision, row: Revision | None) -> bool:
    """True if an event announced the revision before a command had it announced again."""
    return row is not None and row.is_repeated and event.version < row.version


def with_rows(snapshot: Snapshot) -> tuple[Revision, ...]:
    """Return the announcements whose version is that of a row."""
    kept = {(one.study, one.version) for one in snapshot.revisions}
    return tuple(event for event in snapshot.settled_events if (event.study, event.version) in kept)


def not_outranked(snapshot: Snapshot) -> Findings:
    """Find announcements whose row a restored backup has lost, and that no later version of their study outranks.

    The numbers of such revisions are given again: whoever reads them goes by the version.
    """
    last: dict[Study, int] = {}
    for row in snapshot.revisions:
        last[row.study] = max(row.version, last.get(row.study, 0))
    for event in snapshot.settled_events:
        if event.version > last.get(event.study, 0):
            yield Finding(f"{event.study} revision {event.number}", "announced above every row")


def shared_fields(revision: Revision) -> tuple[Any, ...]:
    """Return the fields that row and event have in common."""
    return revision.version, revision.digest, revision.instances, revision.size_bytes, dict(revision.series)


def broken(chain: list[Revision]) -> Iterator[str]:
    """Yield what is wrong between a study's revisions, which are in order."""
    if [one.number for one in chain] != list(range(1, len(chain) + 1)):
        yield "revisions not 1, 2, 3"
    for before, after in itertools.pairwise(chain):
        if after.digest == before.digest:
            yield f"revision {after.number} changes nothing"
        if after.version <= before.version:
            yield f"revision {after.number} has no higher version"
        # A deleted study has a revision without instances.
        if 0 < after.instances < before.instances:
            yield f"revision {after.number} has fewer instances"


def stale(last: Revision | None, rows: list[InstanceRow]) -> Iterator[str]:
    """Yield where the last revision differs from the study as its rows are now."""
    if last is None:
        yield "never settled"
        return
    if last.digest != digest(rows):
        yield "last revision's digest is not that of the rows"
    # An object that was stored again may be longer or shorter, and makes no revision: no content has changed.
    is_sized_anew = any(row.is_stored_again for row in rows)
    size_bytes = last.size_bytes if is_sized_anew else sum(row.size_bytes for row in rows)
    if (last.instances, last.size_bytes) != (len(rows), size_bytes):
        yield "last revision's counts are not those of the rows"
    now = {uid: (len(of), digest(of)) for uid, of in grouped(rows, lambda row: row.series_uid).items()}
    if last.series and dict(last.series) != now:
        yield "last revision's series are not those of the rows"


def digest(rows: Iterable[InstanceRow]) -> str:
    """Return the sha256 over lines of SOP UID, space, data hash, sorted bytewise."""
    lines = sorted(f"{row.name.sop_uid} {row.data_hash}\n".encode() for row in rows)
    return hashlib.sha256(b"".join(lines)).hexdigest()
