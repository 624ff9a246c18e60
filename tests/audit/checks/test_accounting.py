"""Every record that a job reads is handled, dead-lettered or a repeat; whatever else became of it is found."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.audit.checks.accounting import COMMITTED_S, accounted
from tests.audit.snapshot import Place, Positions, ReadRecord, Snapshot, Study

STUDY = Study("local", "1.2")
INSTANCES, ENDS, POLICIES, DUES = ("instance-stored", 3), ("transfer-ended", 3), ("policy-changed", 1), ("study-due", 3)
NOW = 1_000_000.0


def stored(offset: int, sop_uid: str, event_id: str) -> ReadRecord:
    about = ("instance", *STUDY, sop_uid, "hash")
    return ReadRecord(Place(*INSTANCES, offset), about, event_id, STUDY, is_counted=True, appended_at=NOW)


FIRST, SECOND, REPEAT = stored(0, "1", "a"), stored(1, "2", "b"), stored(2, "1", "a")
END = ReadRecord(Place(*ENDS, 0), ("transfer", "local", "t", STUDY.study_uid), "c", STUDY, appended_at=NOW)
DUE = ReadRecord(Place(*DUES, 0), ("due", *STUDY, "d"), "d", STUDY, appended_at=NOW)
# Of this policy the topic keeps the second version alone.
POLICY = ReadRecord(Place(*POLICIES, 1), ("policy", "local", "tiering", "age", 2), "e", appended_at=NOW)
RECORDS = (FIRST, SECOND, REPEAT, END, DUE, POLICY)
SPANS = {
    INSTANCES: (0, 3),
    ENDS: (0, 1),
    DUES: (0, 1),
    POLICIES: (0, 2),
    ("study-command", 0): (0, 0),
    ("study-settled", 0): (0, 9),
}


def healthy() -> Snapshot:
    rows = {one.about: NOW for one in (FIRST, SECOND, END, POLICY) if one.about}
    return Snapshot(
        read_records=RECORDS,
        dues=((STUDY, "d"),),
        due_rows={(STUDY, "d"): 1},
        counted_places=frozenset({(STUDY, SECOND.place)}),
        cataloged={**rows, ("policy", "local", "tiering", "age", 1): None},
        positions=Positions(
            spans=SPANS,
            applied={partition: end - 1 for partition, (_, end) in SPANS.items() if end},
            committed={"study": {INSTANCES: 3, ENDS: 1}, "catalog": {one: end for one, (_, end) in SPANS.items()}},
            kept_since={INSTANCES[0]: NOW - 99, ENDS[0]: NOW - 99, POLICIES[0]: float("-inf")},
            compacted=frozenset({POLICIES[0]}),
            taken_at=NOW,
        ),
    )


def without(s: Snapshot, gone: ReadRecord) -> Snapshot:
    return replace(s, read_records=tuple(one for one in s.read_records if one is not gone))


def uncataloged(s: Snapshot, gone: ReadRecord) -> Snapshot:
    return replace(s, cataloged={about: at for about, at in s.cataloged.items() if about != gone.about})


def at_positions(s: Snapshot, **changes: object) -> Snapshot:
    return replace(s, positions=replace(s.positions, **changes))  # type: ignore[arg-type]


def undecoded(s: Snapshot) -> Snapshot:
    return replace(
        without(s, END), read_records=(*without(s, END).read_records, ReadRecord(END.place, None, appended_at=NOW))
    )


NOT_HANDLED = "of 3 records are neither handled nor dead-lettered, the first at offset"
LOST_ROW = "1 of 1 records are neither handled nor dead-lettered, the first at offset 0"
# What is done, and the findings.
SABOTAGES: dict[str, tuple[Callable[[Snapshot], Snapshot], set[tuple[str, str]]]] = {
    "a record vanishes in the middle": (
        lambda s: without(s, SECOND),
        {
            ("instance-stored[3]", "1 of 3 records have vanished"),
            ("local/1.2/2/hash", "its record is not in instance-stored"),
        },
    ),
    "the first records vanish": (
        # The repeat of the first is still there.
        lambda s: at_positions(without(without(s, FIRST), SECOND), spans={**SPANS, INSTANCES: (2, 3)}),
        {("local/1.2/2/hash", "its record is not in instance-stored")},
    ),
    "the last record vanishes": (
        lambda s: at_positions(without(without(s, REPEAT), SECOND), spans={**SPANS, INSTANCES: (0, 1)}),
        {
            ("instance-stored[3]", "study has read beyond the last record"),
            ("instance-stored[3]", "catalog has read beyond the last record"),
            ("local/1.2/2/hash", "its record is not in instance-stored"),
        },
    ),
    "an instance's row is gone": (
        lambda s: uncataloged(s, SECOND),
        {("instance-stored[3] of catalog", f"1 {NOT_HANDLED} 1")},
    ),
    "a transfer's row is gone": (lambda s: uncataloged(s, END), {("transfer-ended[3] of catalog", LOST_ROW)}),
    "a due's row is gone": (
        lambda s: replace(s, dues=((STUDY, "x"), *s.dues), due_rows={(STUDY, "x"): None}),
        {("study-due[3] of catalog", LOST_ROW)},
    ),
    "no due counts the last instance": (
        lambda s: replace(s, counted_places=frozenset({(STUDY, FIRST.place)})),
        {("instance-stored[3] of study", f"1 {NOT_HANDLED} 1")},
    ),
    "a due of another study counts it": (
        lambda s: replace(s, counted_places=frozenset({(Study("local", "1.3"), SECOND.place)})),
        {("instance-stored[3] of study", f"2 {NOT_HANDLED} 0")},
    ),
    "nobody rejects a record that nothing decodes": (
        undecoded,
        {
            ("transfer-ended[3] of catalog", LOST_ROW),
            ("transfer-ended[3] of study", LOST_ROW),
            ("local/t/1.2", "its record is not in transfer-ended"),
        },
    ),
    "the catalog's progress is behind": (
        lambda s: at_positions(s, applied={**(s.positions.applied or {}), INSTANCES: 1}),
        {("instance-stored[3] of catalog", "not applied to its end")},
    ),
    "the study job has not read for a minute": (
        lambda s: at_positions(
            s, committed={**s.positions.committed, "study": {INSTANCES: 3}}, taken_at=NOW + COMMITTED_S + 1
        ),
        {("transfer-ended[3] of study", "not read within 60 s")},
    ),
    "the broker has lost its tail": (
        lambda s: at_positions(s, committed={"study": {INSTANCES: 4, ENDS: 1}}),
        {("instance-stored[3]", "study has read beyond the last record")},
    ),
}


def findings(snapshot: Snapshot) -> set[tuple[str, str]]:
    return {(one.subject, one.why) for one in accounted(snapshot)}


def test_a_healthy_archive_accounts_for_every_record() -> None:
    assert findings(healthy()) == set()


@pytest.mark.parametrize("what", SABOTAGES)
def test_what_is_not_accounted_for_is_found_in_its_partition(what: str) -> None:
    sabotage, found = SABOTAGES[what]

    assert findings(sabotage(healthy())) == found


def test_a_dead_letter_accounts_for_a_record_of_the_job_that_rejected_it() -> None:
    rejected = replace(uncataloged(undecoded(healthy()), END), dead_letters=frozenset({("catalog", END.place)}))
    by_both = replace(rejected, dead_letters=rejected.dead_letters | {("study", END.place)})

    assert findings(rejected) == {("transfer-ended[3] of study", LOST_ROW)}
    assert findings(by_both) == set()


def test_a_record_that_is_older_than_the_topics_retention_may_be_gone() -> None:
    gone = SABOTAGES["the first records vanish"][0](healthy())

    assert findings(gone) == {("local/1.2/2/hash", "its record is not in instance-stored")}
    assert findings(at_positions(gone, kept_since={INSTANCES[0]: NOW + 1, ENDS[0]: NOW - 99})) == set()


def test_rows_of_before_a_topic_was_made_anew_need_no_record() -> None:
    old = replace(healthy(), cataloged={**healthy().cataloged, ("transfer", "local", "old", ""): NOW - 9})

    assert findings(old) == set()


def test_a_record_that_came_a_moment_ago_need_not_be_committed() -> None:
    assert findings(at_positions(healthy(), committed={})) == set()


def test_a_reader_of_the_catalog_cannot_see_its_progress() -> None:
    assert findings(at_positions(healthy(), applied=None)) == set()
