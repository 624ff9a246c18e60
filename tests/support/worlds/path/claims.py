"""What must hold of an archive once nothing is left to do, whatever befell it: each claim raises AssertionError."""

from collections import defaultdict
from datetime import datetime

from operators.catalog.digest import digest
from operators.deidentify.study_facts import study_facts
from operators.dicom.instance import prefix_hash
from operators.study.commands import CHANGES_SHOWN
from schemas.codec import decode
from schemas.events import Action, InstanceStored, StudyCommand, StudyDue, StudyFacts, StudySettled, TransferEnded
from schemas.objects import Bucket, Envelope
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND, STUDY_DUE, STUDY_FACTS, STUDY_SETTLED, TRANSFER_ENDED
from tests.support.worlds.path.archive import Archive
from tests.support.worlds.path.jobs import FACTS_KEY

# How far the time by which a gateway dates may be from the store's.
CLOCK_ERROR_S = 1.0


def _instances_stored(archive: Archive) -> list[InstanceStored]:
    events = archive.machines.events.events(INSTANCE_STORED)
    return [event for event in events if isinstance(event, InstanceStored)]


def _commands(archive: Archive, *actions: Action) -> list[StudyCommand]:
    """Return the commands of these actions in the order in which they count."""
    events = archive.machines.events.events(STUDY_COMMAND)
    found = [event for event in events if isinstance(event, StudyCommand) and event.action in actions]
    return sorted(found, key=lambda event: (event.occurred_at, event.event_id))


def _chosen(archive: Archive) -> dict[tuple[str, str], str]:
    """Return the data hash of what was chosen last, by study and SOP UID."""
    choices = _commands(archive, "choose")
    return {(event.study_uid, event.sop_uid or ""): event.data_hash or "" for event in choices}


def _shown(archive: Archive, study_uid: str) -> list[tuple[str, str]]:
    """Return SOP UID and data hash of each instance that the study shows: none if it is deleted."""
    last = {event.study_uid: event.action for event in _commands(archive, "delete", "restore")}
    rows = archive.catalog.tables.instances.values() if last.get(study_uid) != "delete" else ()
    return [(row.sop_uid, row.data_hash) for row in rows if row.study_uid == study_uid]


def _first_stored(archive: Archive) -> dict[tuple[str, str], dict[str, datetime]]:
    """Return the contents that have an event, by study and SOP UID: each data hash with when it was first stored."""
    found: dict[tuple[str, str], dict[str, datetime]] = defaultdict(dict)
    for event in _instances_stored(archive):
        known = found[event.study_uid, event.sop_uid]
        known[event.data_hash] = min(event.stored_at, known.get(event.data_hash, event.stored_at))
    return found


def all_is_published(archive: Archive) -> None:
    """Every object has an event, save one that was damaged before its event was published."""
    published = {data_hash for contents in _first_stored(archive).values() for data_hash in contents}
    assert {content.data_hash for content in archive.acknowledged} <= published
    assert {content.data_hash for content in archive.stored - archive.damaged} <= published


def all_is_shown(archive: Archive) -> None:
    """Of every instance the content that was chosen last is shown, or else that which was stored first.

    Each other content is a conflict of it. A deleted study counts nothing.
    """
    tables, stored = archive.catalog.tables, _first_stored(archive)
    shown = {(row.study_uid, row.sop_uid): row.data_hash for row in tables.instances.values()}
    lost = defaultdict(set)
    for row in tables.conflicts.values():
        lost[row.study_uid, row.sop_uid].add(row.data_hash)
    first = {key: min(kept, key=lambda each: (kept[each], each)) for key, kept in stored.items()}
    first |= _chosen(archive)
    assert shown == first
    assert {key: kept.keys() - {first[key]} for key, kept in stored.items() if len(kept) > 1} == lost
    counts = {study_uid: row.instances for (_, study_uid), row in tables.studies.items()}
    assert counts == {study_uid: len(_shown(archive, study_uid)) for study_uid in counts}


def shown_can_be_read(archive: Archive) -> None:
    """The object of each instance that is shown is as its row says, unless it is damaged, or lost and not sent again.

    An object counts as lost although another one lies in its place, as long as no event tells of that one. It is so
    where a PUT was given up and is carried out late: the object that another sender had stored meanwhile gave the first
    sender's intent its event and closed it, and then the store lost that object. Nobody looks for a second one. An
    event tells of it once its instance is sent again, so that then nothing is excepted.
    """
    told = {(event.object_key, event.stored_at, event.prefix_hash) for event in _instances_stored(archive)}
    readable = {content.key for content in archive.stored - archive.damaged}
    for row in archive.catalog.tables.instances.values():
        if row.object_key in readable:
            kept = archive.machines.store.objects[Bucket.HOT, row.object_key]
            envelope = Envelope.from_metadata(kept.metadata)
            found = (len(kept.data), prefix_hash(kept.data[: row.prefix_length]))
            is_told = (row.object_key, envelope.stored_at, envelope.prefix_hash) in told
            assert found == (row.size_bytes, row.prefix_hash) or not is_told


def first_stays(archive: Archive) -> None:
    """A content that was acknowledged before another one was sent is not replaced by it, unless somebody chooses it."""
    chosen = _chosen(archive)
    shown = {
        row.sop_uid: row.data_hash
        for row in archive.catalog.tables.instances.values()
        if (row.study_uid, row.sop_uid) not in chosen
    }
    for first, acknowledged_s in archive.acknowledged.items():
        for other, sent_s in archive.sent.items():
            if first.sop_uid == other.sop_uid and acknowledged_s + CLOCK_ERROR_S < sent_s:
                assert shown.get(first.sop_uid) != other.data_hash


def revisions_are_right(archive: Archive) -> None:
    """The last revision of each study shows what is shown; revisions count up, and each is announced, always alike."""
    tables = archive.catalog.tables
    for _, study_uid in tables.studies:
        of_study = [row for row in tables.revision_rows.values() if row.study_uid == study_uid]
        rows = sorted(of_study, key=lambda row: row.revision)
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        # A study that is deleted before it settles has no revision.
        assert (rows[-1].digest if rows else digest(())) == digest(_shown(archive, study_uid))
        # Whoever ignores a version that is not above the last one has seen the present state in the end.
        assert not rows or max(announced(archive, study_uid))[2] == rows[-1].digest
    if not archive.was_restored:
        known = {(row.version, row.revision, row.digest) for row in tables.revision_rows.values()}
        assert {settled for _, study_uid in tables.studies for settled in announced(archive, study_uid)} == known


def facts_are_those_of_revisions(archive: Archive) -> None:
    """Analysts are told of every revision that is announced, and the last that they hear of a study is its last one."""
    settled = [event for event in archive.machines.events.events(STUDY_SETTLED) if isinstance(event, StudySettled)]
    facts = archive.machines.events.events(STUDY_FACTS)
    assert set(facts) == {study_facts(event, FACTS_KEY) for event in settled}
    last = {event.study_uid: event for event in sorted(settled, key=lambda event: event.version)}
    heard = {event.pseudonym: event for event in facts if isinstance(event, StudyFacts)}
    assert set(heard.values()) == {study_facts(event, FACTS_KEY) for event in last.values()}


def commands_are_counted(archive: Archive) -> None:
    """Every command that changes what is shown is counted by a due of its study, whose position comes after it."""
    events = archive.machines.events
    counted: dict[tuple[str, int], int] = defaultdict(lambda: -1)
    for due in events.events(STUDY_DUE):
        if isinstance(due, StudyDue) and due.command_partition is not None:
            place = due.study_uid, due.command_partition
            counted[place] = max(counted[place], due.command_offset or 0)
    for (topic, partition), records in events.records.items():
        first: dict[str, int] = {}
        for offset, (_, value, _) in enumerate(records if topic == STUDY_COMMAND.name else ()):
            command = decode(value)
            assert isinstance(command, StudyCommand)
            first.setdefault(command.event_id, offset)
            if command.action in CHANGES_SHOWN:
                assert counted[command.study_uid, partition] >= first[command.event_id]


def transfers_are_counted(archive: Archive) -> None:
    """Each transfer ends once for each study, with the number of distinct events that name it.

    An event whose answer was lost is not counted if its object is damaged before it is published again.
    """
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in _instances_stored(archive):
        ids[event.transfer_id, event.study_uid].add(event.event_id)
    ends: dict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for end in archive.machines.events.events(TRANSFER_ENDED):
        assert isinstance(end, TransferEnded)
        if end.study_uid is not None:
            ends[end.transfer_id, end.study_uid].add((end.outcome, end.instances))
    assert ids.keys() <= ends.keys()
    assert all(len(found) == 1 for found in ends.values())
    counted = {key: count for key, found in ends.items() for _, count in found}
    assert all(counted[key] <= len(ids[key]) for key in counted)
    assert archive.was_damaged or counted == {key: len(ids[key]) for key in counted}


def objects_are_good(archive: Archive) -> None:
    """The object of every content that was sent has that content's bytes."""
    assert archive.stored == archive.sent.keys()
    assert not archive.damaged


def announced(archive: Archive, study_uid: str) -> set[tuple[int, int, str]]:
    """Return version, revision and digest of every study-settled of a study."""
    events = archive.machines.events.events(STUDY_SETTLED)
    settled = [event for event in events if isinstance(event, StudySettled) and event.study_uid == study_uid]
    return {(event.version, event.revision, event.digest) for event in settled}
