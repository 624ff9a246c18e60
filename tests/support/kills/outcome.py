"""What became of studies, judged from the records of the topics alone: each revision shows what had come until then."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from schemas.events import InstanceStored, StudyCommand, StudyDue, StudySettled
from tests.support.servers.records import Record

EMPTY = hashlib.sha256().hexdigest()


@dataclass
class Told:
    """What the topics tell of one study: arrivals and dues in order, and each revision when it was first announced.

    `last_s` is when the last instance or command came, in Unix seconds.
    """

    last_s: float = 0.0
    stored: list[Record] = field(default_factory=list)
    dues: dict[str, StudyDue] = field(default_factory=dict)
    revisions: dict[int, StudySettled] = field(default_factory=dict)
    announced_s: dict[int, float] = field(default_factory=dict)

    def note(self, record: Record) -> None:
        if isinstance(record.event, InstanceStored | StudyCommand):
            self.last_s = max(self.last_s, record.at_s)
        match record.event:
            case InstanceStored():
                self.stored.append(record)
            case StudyDue() as due:
                self.dues[due.event_id] = due
            case StudySettled() as settled:
                self.revisions.setdefault(settled.revision, settled)
                self.announced_s.setdefault(settled.revision, record.at_s)

    @property
    def last(self) -> StudySettled:
        return self.revisions[max(self.revisions)]

    @property
    def settled_s(self) -> float:
        """Return when the last revision was announced."""
        return self.announced_s[max(self.revisions)]


def told(records: Iterable[Record]) -> dict[str, Told]:
    """Return what the topics tell of each study."""
    found: dict[str, Told] = defaultdict(Told)
    for record in records:
        if study_uid := getattr(record.event, "study_uid", None):
            found[study_uid].note(record)
    return dict(found)


def shown(stored: Iterable[Record], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each instance that is shown after these arrivals: the chosen one, or the one stored first."""
    first: dict[str, tuple[object, str]] = {}
    for record in stored:
        event = record.event
        assert isinstance(event, InstanceStored)
        content = (event.stored_at, event.data_hash)
        first[event.sop_uid] = min(first.get(event.sop_uid, content), content)
    return {sop_uid: data_hash for sop_uid, (_, data_hash) in first.items()} | dict(chosen)


def digest(contents: Mapping[str, str]) -> str:
    """Return the sha256 over lines of SOP UID, space, data hash, sorted bytewise."""
    lines = sorted(f"{sop_uid} {data_hash}\n".encode() for sop_uid, data_hash in contents.items())
    return hashlib.sha256(b"".join(lines)).hexdigest()


def unexplained(study: Told, choices: Iterable[Mapping[str, str]], *, may_be_empty: bool) -> Iterator[str]:
    """Yield the revisions that do not show all that had come up to their due, or that count otherwise than they show.

    `choices` are the contents that were chosen at some time, by SOP Instance UID. A study that was deleted may have shown nothing.
    """
    every = [*choices]
    for revision in study.revisions.values():
        if revision.digest == EMPTY and may_be_empty and revision.instances == 0:
            continue
        counts = {len(found) for found in moments(study, revision, every) if digest(found) == revision.digest}
        if counts != {revision.instances}:
            yield f"revision {revision.revision} with {revision.instances} instances: {counts or 'no such moment'}"


def moments(study: Told, revision: StudySettled, choices: list[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Yield what the study may have shown when the revision was made: what its due counts, and then more and more."""
    due = study.dues[revision.cause[0]]
    counted = -1 if due.instance_offset is None else due.instance_offset
    least = sum(record.offset <= counted for record in study.stored)
    for count in range(least, len(study.stored) + 1):
        yield from (shown(study.stored[:count], chosen) for chosen in choices)
