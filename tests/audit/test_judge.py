"""A healthy archive is clean, and every sabotage of it is found in its sets and no other."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.audit.checks.counts import NOTHING, recounted
from tests.audit.checks.leaks import leaks
from tests.audit.checks.revisions import digest
from tests.audit.judge import judge
from tests.audit.ledger import Line
from tests.audit.snapshot import (
    Command,
    Counts,
    Decision,
    InstanceRow,
    Name,
    ObjectContent,
    ObjectSeen,
    Place,
    Positions,
    QuarantineRow,
    Revision,
    Series,
    Snapshot,
    StoredEvent,
    Study,
    grouped,
)
from tests.support.data.generate import Instance, Volume, instances

MADE = tuple(instances(Volume(studies=2, slices=4, series=2, size=16)))
LAST = MADE[-1]
# A due that came last and made no revision.
LAST_DUE = (Study("local", LAST.study_uid), "nothing new")


def line(made: Instance) -> Line:
    return Line("acked", "local", made.study_uid, made.series_uid, made.sop_uid, made.data_hash, canary=made.canary)


def key(made: Instance) -> str:
    return f"local/{made.study_uid}/{made.series_uid}/{made.sop_uid}_{made.data_hash}.dcm"


def name(made: Instance) -> Name:
    return Name("local", made.study_uid, made.sop_uid)


def size(made: Instance) -> int:
    return len(made.meta) + len(made.header) + len(made.pixels)


def row(made: Instance) -> InstanceRow:
    return InstanceRow(
        name=name(made),
        series_uid=made.series_uid,
        sop_class=made.sop_class,
        data_hash=made.data_hash,
        object_key=key(made),
        size_bytes=size(made),
        prefix_hash="prefix",
        prefix_length=len(made.meta),
        header_length=len(made.meta) + len(made.header) - 12,
    )


def stored(made: Instance) -> ObjectSeen:
    content = ObjectContent(
        data_hash=made.data_hash,
        prefix_hash="prefix",
        prefix_length=len(made.meta),
        transfer_syntax=made.transfer_syntax,
        after_header=made.header[-12:-8],
        envelope={
            "prefix-hash": "prefix",
            "prefix-length": str(len(made.meta)),
            "header-length": str(len(made.meta) + len(made.header) - 12),
        },
    )
    return ObjectSeen(key(made), size(made), read=True, content=content)


def revision(study: Study, number: int, rows: list[InstanceRow]) -> Revision:
    per_series = grouped(rows, lambda one: one.series_uid)
    return Revision(
        study=study,
        number=number,
        version=100 + number,
        digest=digest(rows),
        instances=len(rows),
        size_bytes=sum(one.size_bytes for one in rows),
        series={uid: (len(of), digest(of)) for uid, of in per_series.items()},
        due=f"{study}/{number}",
    )


def held(made: Instance) -> Command:
    return Command(Study("local", made.study_uid), "its id", "hold")


def held_key(made: Instance) -> str:
    return f"local/{made.study_uid}/_commands/its id.json"


def held_object(made: Instance) -> dict[str, Any]:
    names = {"tenant": "local", "study_uid": made.study_uid, "event_id": "its id"}
    return {**names, "action": "hold", "occurred_at": "2026-11-30T10:00:00+00:00"}


def policy(version: int) -> dict[str, Any]:
    # Objects leave out what is absent.
    rules = [{"name": "old", "when": []}]
    return {"tenant": "local", "kind": "tiering", "name": "age", "version": version, "rules": rules}


def healthy() -> Snapshot:
    rows = tuple(row(made) for made in MADE)
    modality: Mapping[Series, str | None] = {Series("local", made.study_uid, made.series_uid): "CT" for made in MADE}
    studies, series = recounted(Snapshot(rows=rows, series_modality=modality))
    revisions = tuple(
        revision(study, number, [one for one in rows if one.name.study_uid == study.study_uid][:instances_then])
        for study in studies
        for number, instances_then in ((1, 2), (2, 4))
    )
    events = tuple(replace(one, event_id=f"{one.study}/{one.version}") for one in revisions)
    return Snapshot(
        ledger=tuple(line(made) for made in MADE),
        objects={key(made): stored(made) for made in MADE},
        rows=rows,
        study_counts=studies,
        series_counts=series,
        series_modality=modality,
        revisions=revisions,
        settled_events=(*events, events[0]),
        stored_events=tuple(StoredEvent(name(made), made.data_hash, key(made), made.sop_uid) for made in MADE),
        commands=(held(LAST), held(LAST)),
        command_rows=(held(LAST),),
        documents={held_key(LAST): held_object(LAST), "local/_policies/tiering/age/000002.json": policy(2)},
        decision_rows={Decision(Study("local", LAST.study_uid), "hold"): (True, "its id")},
        policy_rows={("local", "tiering", "age"): (2, [{"name": "old"}])},
        dues=(*((one.study, one.due) for one in (*revisions, revisions[-1])), LAST_DUE),
        due_rows={**{(one.study, one.due): one.number for one in revisions}, LAST_DUE: None},
        chosen={name(MADE[0]): MADE[0].data_hash},
        qido_instances=tuple(name(made) for made in MADE),
        qido_studies=tuple((one, replace(said, size_bytes=None)) for one, said in studies.items()),
        qido_series=tuple((one, Counts(instances=said.instances)) for one, said in series.items()),
        wado_hashes={name(made): made.data_hash for made in MADE},
    )


def other(hash_of: str) -> str:
    return hash_of[::-1]


def without(objects: Mapping[str, Any], gone: str) -> dict[str, Any]:
    return {one: stored for one, stored in objects.items() if one != gone}


def with_content(s: Snapshot, **changes: Any) -> Snapshot:
    before = s.objects[key(LAST)]
    assert before.content is not None
    after = replace(before, content=replace(before.content, **changes))
    return replace(s, objects={**s.objects, key(LAST): after})


def with_last_row(s: Snapshot, **changes: Any) -> Snapshot:
    return replace(s, rows=(*s.rows[:-1], replace(s.rows[-1], **changes)))


def with_last_revision(s: Snapshot, **changes: Any) -> Snapshot:
    changed = replace(s.revisions[-1], **changes)
    event = replace(changed, event_id=s.settled_events[-2].event_id)
    return replace(
        s, revisions=(*s.revisions[:-1], changed), settled_events=(*s.settled_events[:-2], event, s.settled_events[-1])
    )


def with_study_count(s: Snapshot, **changes: Any) -> Snapshot:
    study = Study("local", LAST.study_uid)
    return replace(s, study_counts={**s.study_counts, study: replace(s.study_counts[study], **changes)})


def with_series_count(s: Snapshot, **changes: Any) -> Snapshot:
    series = Series("local", LAST.study_uid, LAST.series_uid)
    return replace(s, series_counts={**s.series_counts, series: replace(s.series_counts[series], **changes)})


Sabotage = Callable[[Snapshot], Snapshot]

# A sabotage, how it is done, and the sets of findings in which it must appear.
SABOTAGES: dict[str, tuple[Sabotage, set[str]]] = {
    "delete an object": (
        lambda s: replace(s, objects=without(s.objects, key(LAST))),
        {"lost", "mismatch", "unbacked"},
    ),
    "flip a byte of the data set": (
        lambda s: with_content(s, data_hash=other(LAST.data_hash)),
        {"lost", "mismatch"},
    ),
    "flip a byte of the file meta": (lambda s: with_content(s, prefix_hash="another"), {"mismatch"}),
    "truncate an object": (
        lambda s: replace(s, objects={**s.objects, key(LAST): ObjectSeen(key(LAST), 10, read=True)}),
        {"lost", "mismatch"},
    ),
    "move the header's end": (lambda s: with_content(s, after_header=b"\x10\0\x10\0"), {"mismatch"}),
    "edit the envelope": (lambda s: with_content(s, envelope={}), {"mismatch"}),
    "leave an object that nothing names": (
        lambda s: replace(s, objects={**s.objects, key(LAST) + "x": stored(LAST)}),
        {"orphan"},
    ),
    "remove a row": (
        lambda s: replace(s, rows=s.rows[:-1]),
        {"unindexed", "orphan", "closures", "drift", "mismatch"},
    ),
    "repeat a row under another study": (
        lambda s: replace(s, rows=(*s.rows, replace(s.rows[-1], name=Name("local", "1.2.3", LAST.sop_uid)))),
        {"doubled", "phantom", "closures", "drift"},
    ),
    "repeat a row": (lambda s: replace(s, rows=(*s.rows, s.rows[-1])), {"doubled", "closures", "drift"}),
    "change a row's hash": (
        lambda s: with_last_row(s, data_hash=other(LAST.data_hash)),
        {"unindexed", "phantom", "mismatch", "closures"},
    ),
    "change a row's size": (lambda s: with_last_row(s, size_bytes=1), {"mismatch", "closures", "drift"}),
    "move an instance to another study": (
        lambda s: with_last_row(s, name=Name("local", MADE[0].study_uid, LAST.sop_uid)),
        {"unindexed", "phantom", "closures", "drift", "mismatch"},
    ),
    "move an instance to another series": (
        lambda s: with_last_row(s, series_uid=MADE[-3].series_uid),
        {"phantom", "mismatch", "closures", "drift"},
    ),
    "leak a row to another tenant": (
        lambda s: replace(s, rows=(*s.rows, replace(s.rows[-1], name=name(LAST)._replace(tenant="other")))),
        {"foreign", "doubled", "phantom", "closures", "drift"},
    ),
    "hide an instance from QIDO": (lambda s: replace(s, qido_instances=s.qido_instances[:-1]), {"unindexed"}),
    "answer an instance twice": (lambda s: replace(s, qido_instances=(*s.qido_instances, name(LAST))), {"doubled"}),
    "answer a study twice": (
        lambda s: replace(s, qido_studies=(*s.qido_studies, s.qido_studies[0])),
        {"doubled"},
    ),
    "answer an instance that nobody sent": (
        lambda s: replace(s, qido_instances=(*s.qido_instances, Name("local", "1.2", "3.4"))),
        {"phantom"},
    ),
    "retrieve other bytes": (lambda s: replace(s, wado_hashes={name(LAST): "status 404"}), {"mismatch"}),
    "a study's stale count": (lambda s: with_study_count(s, instances=3), {"drift"}),
    "a study's stale size": (lambda s: with_study_count(s, size_bytes=3), {"drift"}),
    "a study's stale modalities": (lambda s: with_study_count(s, modalities=("CT", "SR")), {"drift"}),
    "a series' stale count": (lambda s: with_series_count(s, instances=3), {"drift"}),
    "a study without its row": (lambda s: replace(s, study_counts={}), {"drift"}),
    "a wrong count in QIDO": (
        lambda s: replace(s, qido_studies=((s.qido_studies[0][0], Counts(instances=9)),)),
        {"drift"},
    ),
    "settle a revision again under another id": (
        lambda s: replace(s, settled_events=(*s.settled_events, replace(s.settled_events[0], event_id="another"))),
        {"closures"},
    ),
    "announce a revision otherwise": (
        lambda s: replace(s, settled_events=(replace(s.settled_events[0], instances=9), *s.settled_events[1:])),
        {"closures"},
    ),
    "announce a revision without row": (
        lambda s: replace(s, settled_events=(*s.settled_events, replace(s.settled_events[0], number=9))),
        {"closures"},
    ),
    "never announce a revision": (lambda s: replace(s, settled_events=s.settled_events[1:-1]), {"closures"}),
    "never settle a study": (lambda s: replace(s, revisions=(), settled_events=()), {"closures", "unrecorded"}),
    "settle before the last instance": (
        lambda s: replace(
            s, revisions=s.revisions[:1] + s.revisions[2:], settled_events=s.settled_events[:1] + s.settled_events[2:]
        ),
        {"closures", "unrecorded"},
    ),
    "settle another set": (lambda s: with_last_revision(s, digest="0"), {"closures"}),
    "settle a series wrongly": (lambda s: with_last_revision(s, series={LAST.series_uid: (2, "0")}), {"closures"}),
    "skip a revision": (lambda s: with_last_revision(s, number=3), {"closures", "unrecorded"}),
    "choose another content": (lambda s: replace(s, chosen={name(MADE[0]): other(MADE[0].data_hash)}), {"unchosen"}),
    "choose a content of an instance that never came": (
        lambda s: replace(s, chosen={Name("local", LAST.study_uid, "1.2"): LAST.data_hash}),
        {"unchosen"},
    ),
    "lose a command's row": (lambda s: replace(s, command_rows=()), {"unrecorded", "orphan"}),
    "keep a command that nobody gave": (
        lambda s: replace(
            s,
            cataloged={("command", "local", "1.2", "x"): 1.0},
            positions=Positions(spans={("study-command", 0): (1, 1)}, kept_since={"study-command": 0.0}),
        ),
        {"accounted"},
    ),
    "keep another action": (
        lambda s: replace(s, command_rows=(held(LAST)._replace(action="delete"),)),
        {"unrecorded"},
    ),
    "lose a command's object": (
        lambda s: replace(s, documents=without(s.documents, held_key(LAST))),
        {"unbacked", "undecided"},
    ),
    "garble a command's object": (
        lambda s: replace(s, documents={**s.documents, held_key(LAST): None}),
        {"unbacked", "undecided"},
    ),
    "another action in a command's object": (
        lambda s: replace(s, documents={**s.documents, held_key(LAST): held_object(LAST) | {"action": "unhold"}}),
        {"unrecorded", "undecided"},
    ),
    "end a hold in the catalog alone": (
        lambda s: replace(s, decision_rows=dict.fromkeys(s.decision_rows, (False, "its id"))),
        {"undecided"},
    ),
    "lose a decision": (lambda s: replace(s, decision_rows={}), {"undecided"}),
    "an older version of a policy is in force": (
        lambda s: replace(s, policy_rows=dict.fromkeys(s.policy_rows, (1, [{"name": "old"}]))),
        {"undecided", "unbacked"},
    ),
    "other rules of a policy": (
        lambda s: replace(s, policy_rows=dict.fromkeys(s.policy_rows, (2, []))),
        {"undecided"},
    ),
    "lose a policy's row": (lambda s: replace(s, policy_rows={}), {"undecided", "orphan"}),
    "name another tenant's object": (
        lambda s: with_last_row(s, object_key=key(LAST).replace("local/", "other/")),
        {"foreign", "mismatch", "orphan"},
    ),
    "a row of a tenant that sent nothing": (
        lambda s: replace(s, tenants={"transfer": frozenset(["local", "other"])}),
        {"foreign"},
    ),
    "open a table to every tenant": (lambda s: replace(s, open_tables=("conflict",)), {"foreign"}),
    "lose a due's row": (lambda s: replace(s, due_rows={due: s.due_rows[due] for due in s.dues[:-2]}), {"unrecorded"}),
    "a due that never learned its revision": (
        lambda s: replace(s, due_rows={**s.due_rows, s.dues[0]: None}),
        {"unrecorded"},
    ),
    "a due with a revision that it did not make": (
        lambda s: replace(s, due_rows={**s.due_rows, LAST_DUE: 2}),
        {"unrecorded"},
    ),
    "a record that nothing decodes": (lambda s: replace(s, unreadable=(Place("study-due", 3, 7),)), {"unreadable"}),
    "lose a record": (
        lambda s: replace(s, positions=Positions(spans={("instance-stored", 0): (0, 1)})),
        {"accounted"},
    ),
    "log a canary's name": (
        lambda s: replace(s, leaks=tuple(leaks([LAST.canary], [("log x", LAST.canary.swapcase().encode())]))),
        {"phi"},
    ),
}


def test_a_healthy_archive_is_clean() -> None:
    verdict = judge(healthy())

    assert verdict.clean, verdict.to_json()
    assert verdict.line == "clean: 8 acknowledged of 8 sent, 8 objects hashed, 4 revisions"


@pytest.mark.parametrize("what", SABOTAGES)
def test_sabotage_is_found_in_its_sets_and_no_other(what: str) -> None:
    sabotage, sets = SABOTAGES[what]

    verdict = judge(sabotage(healthy()))

    assert {one for one, found in verdict.sets.items() if found} == sets, verdict.to_json()["sets"]
    assert not verdict.clean


def test_an_empty_archive_is_clean() -> None:
    assert judge(Snapshot()).clean


def test_an_instance_that_was_never_answered_may_be_there_or_not() -> None:
    s = healthy()
    ledger = tuple(replace(one, state="unknown") for one in s.ledger)

    assert judge(replace(s, ledger=ledger)).clean
    assert judge(Snapshot(ledger=ledger)).clean


def test_only_an_object_that_was_stored_again_may_have_another_size_than_its_revision_counts() -> None:
    s, again = healthy(), replace(LAST, meta=LAST.meta + bytes(40))
    longer = with_last_row(s, size_bytes=size(again), prefix_length=len(again.meta))
    longer = with_last_row(longer, header_length=row(again).header_length)
    studies, series = recounted(longer)
    counted = replace(
        longer,
        objects={**s.objects, key(again): stored(again)},
        study_counts=studies,
        series_counts=series,
    )

    assert judge(with_last_row(counted, is_stored_again=True)).clean
    assert {one for one, found in judge(counted).sets.items() if found} == {"closures"}


def test_a_conflict_keeps_both_contents_and_shows_one() -> None:
    s = healthy()
    again = replace(LAST, pixels=LAST.pixels[::-1])
    both = replace(s, ledger=(*s.ledger, line(again)), objects={**s.objects, key(again): stored(again)})

    assert judge(replace(both, conflict_keys=frozenset({key(again)}))).clean
    assert {one for one, found in judge(both).sets.items() if found} == {"unindexed", "orphan"}


QUARANTINE_ROW = QuarantineRow("local", "ab" * 32, "held", "local/" + "ab" * 32, 10, "prefix")
REFUSED = Line("failed", "local", "", "", "", QUARANTINE_ROW.data_hash, status="C000")


def quarantined(row: QuarantineRow = QUARANTINE_ROW, **changes: Any) -> Snapshot:
    content = ObjectContent(QUARANTINE_ROW.data_hash, "prefix", 0, "", None)
    stored = ObjectSeen(QUARANTINE_ROW.object_key, 10, read=True, content=replace(content, **changes))
    return Snapshot(ledger=(REFUSED,), quarantine_rows=(row,), quarantine_objects={QUARANTINE_ROW.object_key: stored})


# A sabotage of a quarantined object, and how it is done.
QUARANTINE_SABOTAGES: dict[str, Callable[[Snapshot], Snapshot]] = {
    "lose its row": lambda s: replace(s, quarantine_rows=()),
    "lose its object": lambda s: replace(s, quarantine_objects={}),
    "never send it": lambda s: replace(s, ledger=()),
    "flip a byte": lambda _: quarantined(data_hash=other("ab" * 31 + "cd")),
    "flip a byte of its file meta": lambda _: quarantined(prefix_hash="another"),
    "change its size": lambda _: quarantined(replace(QUARANTINE_ROW, size_bytes=11)),
    "let it go": lambda s: replace(s, quarantine_rows=(replace(QUARANTINE_ROW, state="released"),)),
    "move it": lambda s: replace(
        s,
        quarantine_rows=(replace(QUARANTINE_ROW, object_key="local/x"),),
        quarantine_objects={"local/x": s.quarantine_objects[QUARANTINE_ROW.object_key]},
    ),
}


def test_a_quarantined_refusal_is_clean() -> None:
    assert judge(quarantined()).clean


def test_a_discarded_quarantine_row_needs_no_object() -> None:
    assert judge(replace(quarantined(replace(QUARANTINE_ROW, state="discarded")), quarantine_objects={})).clean


@pytest.mark.parametrize("status", ["C001", "0122", "A901"])
def test_a_refusal_that_quarantines_nothing_needs_no_row(status: str) -> None:
    assert judge(Snapshot(ledger=(replace(REFUSED, status=status),))).clean


@pytest.mark.parametrize("what", QUARANTINE_SABOTAGES)
def test_sabotage_of_a_quarantined_object_is_found(what: str) -> None:
    verdict = judge(QUARANTINE_SABOTAGES[what](quarantined()))

    assert {one for one, found in verdict.sets.items() if found} == {"quarantine"}


def test_a_conflict_that_was_never_announced_is_found() -> None:
    conflict = (name(LAST), other(LAST.data_hash))
    s = replace(healthy(), conflicts=(conflict,))

    assert {one for one, found in judge(s).sets.items() if found} == {"unraised"}
    assert judge(replace(s, announced_conflicts=frozenset({conflict}))).clean


def test_instances_of_a_sender_that_cannot_know_its_bytes_still_count() -> None:
    s = healthy()
    blind = replace(s, ledger=tuple(replace(one, data_hash="") for one in s.ledger))

    assert judge(blind).clean
    assert judge(replace(blind, objects=without(s.objects, key(LAST)))).sets["lost"]


def test_findings_name_uids_and_never_a_patient() -> None:
    sets = judge(replace(healthy(), rows=())).to_json()["sets"]

    assert LAST.sop_uid in str(sets)
    assert LAST.canary not in str(sets)


def test_a_token_is_found_in_upper_and_lower_case_and_nowhere_else() -> None:
    sinks = [("a", b"... qzcanaryAB ..."), ("b", b"QZCANARY"), ("c", b"")]

    assert list(leaks(["QZCANARYAB", ""], sinks)) == ["a"]


def test_an_empty_catalog_has_no_counts() -> None:
    assert recounted(Snapshot()) == ({}, {})
    assert NOTHING.instances == 0


def lost_and_announced(version: int) -> Snapshot:
    """Return an archive that announced a revision of this version whose row a restored backup has lost."""
    event = replace(healthy().revisions[-1], version=version, digest="0", event_id="lost")
    return replace(healthy(), settled_events=(*healthy().settled_events, event))


def test_an_announcement_that_a_restored_backup_lost_is_wrong_only_if_nothing_outranks_it() -> None:
    last = healthy().revisions[-1].version

    assert judge(replace(lost_and_announced(1), restored=True)).clean
    assert not judge(lost_and_announced(1)).clean
    assert not judge(replace(lost_and_announced(last + 1), restored=True)).clean


def test_a_restored_archive_still_announces_every_row() -> None:
    assert not judge(replace(healthy(), settled_events=healthy().settled_events[1:-1], restored=True)).clean


def deleted() -> Snapshot:
    """Return a healthy archive whose last study was deleted, and settled without instances."""
    s, study = healthy(), Study("local", LAST.study_uid)
    last = replace(revision(study, 3, []), version=103)
    gone = replace(s, deleted=frozenset([study]))
    studies, series = recounted(gone)
    return replace(
        gone,
        study_counts={**dict.fromkeys(s.study_counts, NOTHING), **studies},
        series_counts={**dict.fromkeys(s.series_counts, Counts(instances=0, size_bytes=0)), **series},
        revisions=(*s.revisions, last),
        settled_events=(*s.settled_events, replace(last, event_id="deleted")),
        qido_instances=tuple(one for one in s.qido_instances if one.study_uid != study.study_uid),
        qido_studies=tuple(one for one in s.qido_studies if one[0] != study),
        qido_series=tuple(one for one in s.qido_series if one[0].study_uid != study.study_uid),
        wado_hashes={
            one: "status 404" if one.study_uid == study.study_uid else fetched for one, fetched in s.wado_hashes.items()
        },
    )


@pytest.mark.parametrize(
    ("change", "sets"),
    [
        ({}, set()),
        ({"deleted": frozenset()}, {"unindexed", "mismatch", "closures", "drift"}),
        ({"qido_instances": healthy().qido_instances}, {"phantom"}),
        ({"wado_hashes": healthy().wado_hashes}, {"mismatch"}),
        ({"study_counts": healthy().study_counts}, {"drift"}),
        ({"objects": {}}, {"lost", "mismatch", "unbacked"}),
        ({"revisions": healthy().revisions, "settled_events": healthy().settled_events}, {"closures"}),
    ],
)
def test_a_deleted_study_keeps_its_objects_and_shows_nothing(change: dict[str, Any], sets: set[str]) -> None:
    assert {one for one, found in judge(replace(deleted(), **change)).sets.items() if found} == sets


def test_a_revision_that_was_announced_again_for_a_command_has_two_events() -> None:
    s = healthy()
    again = replace(s.revisions[-1], version=110)
    events = (*s.settled_events, replace(again, event_id="again"))

    assert judge(
        replace(s, revisions=(*s.revisions[:-1], replace(again, is_repeated=True)), settled_events=events)
    ).clean
    assert not judge(replace(s, revisions=(*s.revisions[:-1], again), settled_events=events)).clean
