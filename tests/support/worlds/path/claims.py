"""What must hold of an archive once nothing is left to do, whatever befell it: each claim raises AssertionError."""

from collections import defaultdict

from operators.catalog.digest import digest
from schemas.events import InstanceStored, StudySettled, TransferEnded
from schemas.objects import Bucket, Envelope, Identity
from schemas.topics import INSTANCE_STORED, STUDY_SETTLED, TRANSFER_ENDED
from tests.support.worlds.path.archive import Archive


def _contents_of(archive: Archive) -> dict[tuple[str, str], dict[str, Envelope]]:
    """Return the contents in the store, by study and SOP UID: each data hash with its envelope."""
    found: dict[tuple[str, str], dict[str, Envelope]] = defaultdict(dict)
    for (bucket, key), kept in archive.machines.store.objects.items():
        if bucket is Bucket.HOT:
            identity = Identity.of(key)
            found[identity.study_uid, identity.sop_uid][identity.data_hash] = Envelope.from_metadata(kept.metadata)
    return found


def all_is_shown(archive: Archive) -> None:
    """Of every instance in the store the first content is shown, and each other content is a conflict of it."""
    tables, stored = archive.catalog.tables, _contents_of(archive)
    shown = {(row.study_uid, row.sop_uid): row.data_hash for row in tables.instances.values()}
    lost = defaultdict(set)
    for row in tables.conflicts.values():
        lost[row.study_uid, row.sop_uid].add(row.data_hash)
    first = {key: min(kept, key=lambda each: (kept[each].stored_at, each)) for key, kept in stored.items()}
    assert shown == first
    assert {key: kept.keys() - {first[key]} for key, kept in stored.items() if len(kept) > 1} == lost
    acknowledged = {(content.study_uid, content.sop_uid) for content in archive.acknowledged}
    assert acknowledged <= shown.keys()


def revisions_are_right(archive: Archive) -> None:
    """The last revision of each study shows what is shown; revisions count up, and each is announced, always alike."""
    tables = archive.catalog.tables
    for _, study_uid in tables.studies:
        of_study = [row for row in tables.revision_rows.values() if row.study_uid == study_uid]
        rows = sorted(of_study, key=lambda row: row.revision)
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        now_shown = [(row.sop_uid, row.data_hash) for row in tables.instances.values() if row.study_uid == study_uid]
        assert rows[-1].digest == digest(now_shown)
    assert announced(archive) == {(row.study_uid, row.revision, row.digest) for row in tables.revision_rows.values()}


def transfers_are_counted(archive: Archive) -> None:
    """Each transfer ends once for each study, with the number of distinct events that name it."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in archive.machines.events.events(INSTANCE_STORED):
        assert isinstance(event, InstanceStored)
        ids[event.transfer_id, event.study_uid].add(event.event_id)
    ends: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for end in archive.machines.events.events(TRANSFER_ENDED):
        assert isinstance(end, TransferEnded)
        ends[end.transfer_id, end.study_uid].add((end.outcome, end.instances))
    assert ids.keys() <= ends.keys()
    assert {key: [count for _, count in found] for key, found in ends.items()} == {key: [len(ids[key])] for key in ends}


def objects_are_good(archive: Archive) -> None:
    """The object of every content that was sent has that content's bytes."""
    stored = {
        Identity.of(key).data_hash: kept.data
        for (bucket, key), kept in archive.machines.store.objects.items()
        if bucket is Bucket.HOT
    }
    for content in archive.sent:
        assert stored[content.data_hash].endswith(content.data)


def announced(archive: Archive) -> set[tuple[str, int, str]]:
    """Return study, revision and digest of every study-settled."""
    events = archive.machines.events.events(STUDY_SETTLED)
    return {(event.study_uid, event.revision, event.digest) for event in events if isinstance(event, StudySettled)}
