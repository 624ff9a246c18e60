"""Checks of the records that jobs read: each is handled, dead-lettered or left out as a repeat, and none has vanished.

What shows from outside: the catalog job has handled a record when the row that it becomes is there, and has read a partition
when the rows of its progress name the last offset. The study job has handled an instance, or a command that changes what
is shown, when a due of the study counts that offset or a later one. Whether it has handled the end of a transfer, or
another command, shows only in the offsets that it commits at checkpoints: these reach each record within a minute.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.audit.checks.commands import dues_without_row
from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Place, ReadRecord, Snapshot, Study

# The topics that each job reads.
READ: Mapping[str, tuple[str, ...]] = {
    "catalog": (
        "instance-stored",
        "transfer-ended",
        "instance-quarantined",
        "study-command",
        "policy-changed",
        "study-due",
    ),
    "study": ("instance-stored", "transfer-ended", "study-command"),
}
# The topic of the records of which each table's rows are made.
MADE_OF: Mapping[str, str] = {
    "instance": "instance-stored",
    "transfer": "transfer-ended",
    "quarantine": "instance-quarantined",
    "command": "study-command",
    "policy": "policy-changed",
    "due": "study-due",
}
# An object is stored before its record is there.
BEFORE_RECORD_S = 5.0
# Several times as long as between two checkpoints.
COMMITTED_S = 60.0


@dataclass(frozen=True)
class Partition:
    """A partition as it was read: the offsets of its first record and after its last one, and its records."""

    topic: str
    number: int
    start: int
    end: int
    records: tuple[ReadRecord, ...]

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


def accounted(snapshot: Snapshot) -> Findings:
    """Find partitions of which not every record is accounted for, and rows whose record has vanished (I5)."""
    handled = {"catalog": cataloged(snapshot), "study": counted(snapshot)}
    for partition in partitions(snapshot):
        yield from (Finding(str(partition), why) for why in vanished(partition, snapshot))
        for job in (job for job, topics in READ.items() if partition.topic in topics):
            yield from (
                Finding(f"{partition} of {job}", why)
                for why in (*unhandled(partition, job, handled[job], snapshot), *unread(partition, job, snapshot))
            )
    yield from without_record(snapshot)


def partitions(snapshot: Snapshot) -> Iterator[Partition]:
    """Yield every partition that jobs read."""
    records: dict[tuple[str, int], list[ReadRecord]] = defaultdict(list)
    for record in snapshot.read_records:
        records[record.place[:2]].append(record)
    for place, span in snapshot.positions.spans.items():
        if place[0] in MADE_OF.values():
            yield Partition(*place, *span, tuple(records[place]))


def vanished(partition: Partition, snapshot: Snapshot) -> Iterator[str]:
    """Yield that records are missing between the first and the last one, or that a job has read beyond the last one."""
    missing = partition.end - partition.start - len(partition.records)
    if missing and partition.topic not in snapshot.positions.compacted:
        yield f"{missing} of {partition.end - partition.start} records have vanished"
    for job, committed in snapshot.positions.committed.items():
        if committed.get((partition.topic, partition.number), 0) > partition.end:
            yield f"{job} has read beyond the last record"


def unhandled(
    partition: Partition, job: str, handled: Callable[[ReadRecord], bool], snapshot: Snapshot
) -> Iterator[str]:
    """Yield how many records a job has neither handled nor dead-lettered nor left out as repeats."""
    seen: set[str] = set()
    left: list[int] = []
    for record in partition.records:
        is_repeat = record.event_id in seen
        seen |= {record.event_id} - {""}
        if not (is_repeat or handled(record) or (job, record.place) in snapshot.dead_letters):
            left.append(record.place.offset)
    if left:
        total = partition.end - partition.start
        yield f"{len(left)} of {total} records are neither handled nor dead-lettered, the first at offset {left[0]}"


def cataloged(snapshot: Snapshot) -> Callable[[ReadRecord], bool]:
    """Return what is true of a record whose row is there."""
    lacking = dues_without_row(snapshot)

    def is_cataloged(record: ReadRecord) -> bool:
        if record.place.topic == "study-due":
            return record.about is not None and (record.study, record.event_id) not in lacking
        return record.about in snapshot.cataloged

    return is_cataloged


def counted(snapshot: Snapshot) -> Callable[[ReadRecord], bool]:
    """Return what is true of a record that a due counts, or that needs none."""
    last: dict[tuple[Study, str, int], int] = {}
    for study, place in snapshot.counted_places:
        key = (study, *place[:2])
        last[key] = max(place.offset, last.get(key, -1))
    begins = {partition: span[0] for partition, span in snapshot.positions.spans.items()}

    def is_counted(record: ReadRecord) -> bool:
        if record.about is None or record.study is None or not record.is_counted:
            return record.about is not None
        # Where earlier records are gone, this may be the repeat of one of them.
        may_repeat = begins.get(record.place[:2], 0) > 0 and record.about in snapshot.cataloged
        return may_repeat or last.get((record.study, *record.place[:2]), -1) >= record.place.offset

    return is_counted


def unread(partition: Partition, job: str, snapshot: Snapshot) -> Iterator[str]:
    """Yield that a job has not come to a partition's end: by the rows of its progress, or by what it commits."""
    positions, place = snapshot.positions, (partition.topic, partition.number)
    is_known = job == "catalog" and positions.applied is not None and partition.end > partition.start
    if is_known and (positions.applied or {}).get(place, -1) < partition.end - 1:
        yield "not applied to its end"
    committed = positions.committed.get(job, {}).get(place, 0)
    if any(is_late(record.place, record.appended_at, committed, snapshot) for record in partition.records):
        yield f"not read within {COMMITTED_S:.0f} s"


def is_late(place: Place, appended_at: float, committed: int, snapshot: Snapshot) -> bool:
    """True if the record of this place should have been read before the committed offset."""
    return place.offset >= committed and appended_at < snapshot.positions.taken_at - COMMITTED_S


def without_record(snapshot: Snapshot) -> Findings:
    """Find rows whose record is not in its topic, though it keeps records for longer than the row is old."""
    known = {record.about for record in snapshot.read_records}
    since_when = {topic: since for topic in MADE_OF.values() if (since := records_since(topic, snapshot)) is not None}
    for about, since in snapshot.cataloged.items():
        topic = MADE_OF.get(str(about[0]))
        if since is not None and topic in since_when and since >= since_when[topic] and about not in known:
            yield Finding("/".join(map(str, about[1:])), f"its record is not in {topic}")


def records_since(topic: str, snapshot: Snapshot) -> float | None:
    """Return since when a topic has all its records, Unix seconds; None for a topic that was not read.

    A topic of which nothing was deleted, and that has records, begins seconds before its first one: it may have been made
    anew, and what was in an earlier one of its name need not be in it.
    """
    positions = snapshot.positions
    spans = [span for (name, _), span in positions.spans.items() if name == topic]
    appended = [one.appended_at for one in snapshot.read_records if one.place.topic == topic]
    is_whole = appended and all(start == 0 for start, _ in spans)
    kept, first = (
        positions.kept_since.get(topic, float("-inf")),
        min(appended) - BEFORE_RECORD_S if is_whole else float("-inf"),
    )
    return max(kept, first) if spans else None
