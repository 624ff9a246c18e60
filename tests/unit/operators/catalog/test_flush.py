"""The flush of the catalog job, case by case; tests/laws has order, batches and repetition."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operators.catalog import flush as module
from operators.catalog.flush import ANNOUNCED_AT_ONCE, flush
from operators.catalog.progress import WENT_BACK, starting_offsets
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from operators.connectors.memory.stores import Outage
from operators.errors import Unavailable
from operators.stream.origin import Origin
from operators.stream.step import Flushed
from schemas.codec import MARKER, UnknownSchema, encode
from schemas.events import Frames, InstanceConflict, RecordRejected, StudyCataloged, StudySettled
from tests.support.worlds.catalog_histories import (
    NOON,
    choice,
    due,
    ended,
    instance,
    numbered,
    quarantined,
    record,
    run,
)
from tests.support.worlds.policies import policy, rule


def events(flushed: Flushed, kind: type[Any]) -> list[Any]:
    return [output.event for output in flushed.outputs if isinstance(output.event, kind)]


def test_a_conflict_is_announced_with_both_contents_and_again_on_a_replay() -> None:
    catalog = MemoryCatalog()
    late, early = instance(content="b", second=5), instance(content="a", second=1)
    first = run(catalog, [numbered([late]), numbered([early])])
    again = run(catalog, [numbered([late])])

    (event,) = events(first, InstanceConflict)
    assert (event.shown_data_hash, event.lost_data_hash) == (early.data_hash, late.data_hash)
    assert events(again, InstanceConflict) == [event]


def test_the_same_content_by_dimse_and_stow_is_one_row_and_no_conflict() -> None:
    by_dimse = instance(transfer="t1")
    by_stow = replace(by_dimse, transfer_id="t2", prefix_hash="1" * 64, prefix_length=512, header_length=1112)
    for first, second in ((by_dimse, by_stow), (by_stow, by_dimse)):
        catalog = MemoryCatalog()
        flushed = run(catalog, [numbered([first]), numbered([second])])

        (row,) = catalog.tables.instances.values()
        assert row.data_hash == by_dimse.data_hash
        assert catalog.tables.conflicts == {}
        assert events(flushed, InstanceConflict) == events(flushed, RecordRejected) == []
        assert [study.instances for study in catalog.tables.studies.values()] == [1]


def test_a_quarantined_content_belongs_to_no_study() -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [numbered([quarantined()])])

    (row,) = catalog.tables.quarantine.values()
    assert (row.state, row.reason, row.calling_ae) == ("held", "no-usable-uid", "CT1")
    assert (flushed.outputs, catalog.tables.studies) == ((), {})


def test_a_policy_belongs_to_no_study_and_makes_no_event() -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [numbered([policy(rule("all", tier="cold"), version=2)])])

    (row,) = catalog.tables.policies.values()
    assert (row.kind, row.name, row.version, row.rules) == ("tiering", "age", 2, (rule("all", tier="cold"),))
    assert flushed.outputs == ()


@pytest.mark.parametrize("changes", [{"name": "a/b"}, {"version": 0}, {"event_id": "x"}, {"tenant": "A"}])
def test_an_impossible_policy_is_a_dead_letter(changes: dict[str, Any]) -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [[record(replace(policy(), **changes))]])

    assert [output.event.reason for output in flushed.outputs if isinstance(output.event, RecordRejected)] == [
        "not-a-policy-of-ours"
    ]
    assert not catalog.tables.policies


def test_an_impossible_quarantine_event_is_a_dead_letter() -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [[record(replace(quarantined(), object_key="local/x"))]])

    assert [dead.reason for dead in events(flushed, RecordRejected)] == ["not-a-content-of-ours"]
    assert catalog.tables.quarantine == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": b"no event"}, "not-an-event"),
        ({"value": record(due()).value}, "not-of-its-topic"),
        ({"key": b"local/1.2.9"}, "not-its-key"),
        ({"value": record(instance(object_key="local/x")).value}, "not-its-object-key"),
        ({"value": record(instance(sop_uid="../x")).value}, "not-an-instance-of-ours"),
        ({"value": record(instance(event_id="7")).value}, "not-a-study-of-ours"),
        ({"value": record(instance(frames=Frames(kind="native", offset=-1))).value}, "not-frames"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_can_never_be_a_row_is_rejected_with_its_bytes(change: dict[str, Any], reason: str) -> None:
    bad = replace(record(instance(), offset=5, partition=2), **change)
    flushed = flush(MemoryCatalog(), 0, None, (bad, record(instance(sop="2"), 6)), 0)

    (dead,) = events(flushed, RecordRejected)
    assert (dead.reason, dead.operator, dead.tenant) == (reason, "catalog", "local")
    assert (dead.origin_topic, dead.origin_partition, dead.origin_offset) == (bad.topic, 2, 5)
    assert (dead.origin_key, dead.origin_value) == (bad.key, bad.value)
    assert len(events(flushed, StudyCataloged)) == 1


def test_an_event_of_a_newer_writer_stops_the_job() -> None:
    newer = replace(record(instance()), value=MARKER + b"\1" * 8)

    with pytest.raises(UnknownSchema):
        flush(MemoryCatalog(), 0, None, (newer,), 0)


def test_a_progress_that_cannot_be_read_fails_the_flush() -> None:
    with pytest.raises(ValueError, match="the catalog's state of a shard"):
        flush(MemoryCatalog(), 0, b"no progress", (), 0)


def test_a_due_waits_until_the_instances_that_it_counts_are_applied() -> None:
    catalog = MemoryCatalog()
    early = run(catalog, [[record(instance(), 3), record(due(place=(0, 4)))]])
    elsewhere = run(catalog, [[record(instance(study="1.2.2"), 9, partition=1)]], early.head)
    ready = run(catalog, [[record(instance(sop="2"), 4)]], elsewhere.head)

    assert events(early, StudySettled) == events(elsewhere, StudySettled) == []
    assert [settled.instances for settled in events(ready, StudySettled)] == [2]
    assert catalog.tables.waiting == {}


def test_a_rejected_record_counts_as_applied() -> None:
    bad = replace(record(instance(sop="2"), 4), value=b"no event")
    flushed = run(MemoryCatalog(), [[record(instance(), 3), record(due(place=(0, 4)))], [bad]])

    assert [settled.instances for settled in events(flushed, StudySettled)] == [1]


def test_a_due_of_a_deleted_topic_is_settled_since_its_instances_can_never_be_applied() -> None:
    catalog = MemoryCatalog()
    records = (record(instance(), 3), record(due(place=(0, 4))))
    first = flush(catalog, 3, None, records, 0, origin=Origin({"instance-stored": "A"}))
    again = flush(catalog, 3, None, (record(instance(study="1.2.2"), 0),), 0, origin=Origin({"instance-stored": "B"}))

    assert events(first, StudySettled) == []
    assert [settled.study_uid for settled in events(again, StudySettled)] == ["1.2.1"]


def test_a_due_waits_however_old_it_is() -> None:
    catalog = MemoryCatalog()
    waiting = flush(catalog, 3, None, (record(due(place=(0, 3))),), NOON.timestamp())
    weeks_later = NOON.timestamp() + 14 * 86400
    late = flush(catalog, 3, waiting.head, (record(instance(sop="2"), 5000),), weeks_later)

    assert [settled.instances for settled in events(late, StudySettled)] == [1]


def test_a_repeated_due_waits_once() -> None:
    catalog = MemoryCatalog()
    waiting = run(
        catalog, [[record(due(place=(0, 4)), 0)], [record(due(place=(0, 4)), 0), record(due(place=(0, 4)), 1)]]
    )
    ready = run(catalog, [[record(instance(), 4)]], waiting.head)

    assert len(events(ready, StudySettled)) == 1


def test_a_due_that_was_settled_waits_for_nothing_when_it_comes_again() -> None:
    catalog, early = MemoryCatalog(), record(due(place=(0, 4)))
    run(catalog, [[record(instance(), 4), early]])
    # A job whose progress is lost, or that has other shards, reads everything again, and perhaps the due first.
    again = flush(catalog, 5, None, (early, record(due(number=2, place=(0, 9)), 1)), NOON.timestamp())

    assert [settled.revision for settled in events(again, StudySettled)] == [1]
    assert [row.offset for row in catalog.tables.waiting.values()] == [9]


def test_a_due_with_an_impossible_partition_is_a_dead_letter() -> None:
    # fastavro reads numbers that are too large for Avro's int.
    good = record(due(place=(2**31 - 1, 3)))
    bad = replace(good, value=good.value.replace(b"\xfe\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10"))
    flushed = flush(MemoryCatalog(), 3, None, (bad,), NOON.timestamp())

    assert bad.value != good.value
    assert [dead.reason for dead in events(flushed, RecordRejected)] == ["not-a-place"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data_hash": None}, "choice-without-content"),
        ({"sop_uid": None}, "choice-without-content"),
        ({"instance": None}, "choice-without-content"),
        ({"instance": b"no event"}, "not-an-instance"),
        ({"instance": encode(due())}, "not-an-instance"),
        ({"instance": encode(instance(sop="2"))}, "choice-of-another-content"),
        ({"instance": encode(instance(content="b"))}, "choice-of-another-content"),
        ({"instance": encode(instance(study="1.2.2"))}, "choice-of-another-content"),
        ({"instance": encode(replace(instance(), object_key="local/x"))}, "not-its-object-key"),
        ({"event_id": "7"}, "not-a-study-of-ours"),
        ({"why": "a\0b"}, "refused-by-the-database"),
    ],
)
def test_a_command_that_can_never_be_carried_out_is_a_dead_letter(change: dict[str, Any], reason: str) -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [[record(replace(choice(instance()), **change)), record(instance(sop="3"))]])

    assert [dead.reason for dead in events(flushed, RecordRejected)] == [reason]
    assert (catalog.tables.commands, catalog.tables.decisions) == ({}, {})
    assert [row.sop_uid for row in catalog.tables.instances.values()] == ["1.2.1.9.3"]


def test_a_due_that_counts_more_than_a_column_can_hold_is_a_dead_letter() -> None:
    catalog = MemoryCatalog()
    good = record(replace(due(), window_instances=2**31 - 1))
    bad = replace(good, value=good.value.replace(b"\xfe\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10"))
    flushed = flush(catalog, 3, None, (bad,), NOON.timestamp())

    assert [dead.reason for dead in events(flushed, RecordRejected)] == ["not-a-count"]


def test_a_due_settles_even_before_its_instances_in_the_same_batch() -> None:
    flushed = run(MemoryCatalog(), [[record(due(place=(0, 0))), record(instance(), 0)]])

    assert [settled.revision for settled in events(flushed, StudySettled)] == [1]


def test_a_study_without_instances_gets_no_revision() -> None:
    catalog = MemoryCatalog()
    flushed = run(catalog, [numbered([due(), ended()])])

    assert flushed.outputs == ()
    assert catalog.tables.revision_rows == {}
    assert len(catalog.tables.transfers) == 1


def test_the_end_of_a_transfer_without_a_study_is_a_row_of_its_own() -> None:
    catalog = MemoryCatalog()
    refused = replace(ended(None, instances=0), refused={"too-large": 2})
    flushed = run(catalog, [numbered([refused])])

    (row,) = catalog.tables.transfers.values()
    assert (row.transfer_id, row.study_uid, row.refused) == ("t1", "", {"too-large": 2})
    assert flushed.outputs == ()


def test_a_revision_that_a_kill_left_unsent_is_announced_though_its_due_no_longer_waits() -> None:
    catalog = MemoryCatalog()
    checkpoint = run(catalog, [[record(due(place=(0, 4)), 0)]])
    unsent = run(catalog, [[record(instance(), 4)]], checkpoint.head)
    again = run(catalog, [[record(instance(), 4)]], checkpoint.head)

    assert events(again, StudySettled) == events(unsent, StudySettled) != []


def test_a_catalog_that_lost_its_progress_announces_all_revisions_again_in_steps() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(), due()])])
    (row,) = catalog.tables.revision_rows.values()
    more = [replace(row, study_uid=f"1.3.{number}", version=number + 10) for number in range(ANNOUNCED_AT_ONCE)]
    catalog.tables.revision_rows.update({(added.tenant, added.study_uid, 1): added for added in more})
    catalog.tables.announced.clear()
    first = run(catalog, [()])
    second = run(catalog, [()], first.head)

    assert [len(first.outputs), len(second.outputs)] == [ANNOUNCED_AT_ONCE, 1]
    versions = [settled.version for settled in events(first, StudySettled) + events(second, StudySettled)]
    assert versions == sorted(versions)


def test_a_job_without_state_announces_only_what_the_rows_say_is_new() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(), due()])])

    assert run(catalog, [()]).outputs == ()


def test_a_database_that_went_back_stops_the_flush_before_it_writes() -> None:
    catalog = MemoryCatalog()
    backup = catalog.tables.backup()
    first = run(catalog, [numbered([instance(), due()])])
    catalog.tables.restore(backup)

    stopped = run(catalog, [[record(instance(sop="2"), 5)]], first.head)

    assert (stopped.stop and stopped.stop.reason, stopped.outputs) == (WENT_BACK, ())
    assert catalog.tables.instances == {}
    assert MemoryProgress(tables=catalog.tables).went_back(shards=1)


def test_versions_outrank_those_that_a_lost_database_gave() -> None:
    catalog = MemoryCatalog()
    first = run(catalog, [numbered([instance(), due()])])
    lost = MemoryCatalog()
    assert run(lost, [()], first.head).stop
    again = run(lost, [numbered([instance(), due()])])

    assert events(again, StudySettled)[0].version > events(first, StudySettled)[0].version


def test_a_database_that_went_back_is_filled_again_from_the_offsets_of_its_rows() -> None:
    catalog = MemoryCatalog()
    records = numbered([instance(), instance(sop="2"), instance(sop="3")])
    run(catalog, [records[:1]])
    backup = catalog.tables.backup()
    run(catalog, [records[1:]])
    catalog.tables.restore(backup)
    begin = starting_offsets(MemoryProgress(tables=catalog.tables).applied(), 1, {})
    run(catalog, [records[begin["instance-stored", 0] :]])

    assert begin == {("instance-stored", 0): 1}
    assert len(catalog.tables.instances) == 3


def test_the_state_of_an_earlier_release_moves_into_the_rows() -> None:
    catalog = MemoryCatalog()
    state = (Path(__file__).parent / "shard_state_1.json").read_bytes()
    run(catalog, [[record(instance(), 8)]], state)
    ready = run(catalog, [[record(instance(sop="2"), 9)]], run(catalog, [()], state).head)

    assert [settled.instances for settled in events(ready, StudySettled)] == [2]
    rows = {(row.topic, row.partition): row.offset for row in MemoryProgress(tables=catalog.tables).applied()}
    assert rows == {("instance-stored", 0): 9, ("instance-stored", 15): 0, ("study-due", 3): 2}


def test_a_broker_that_lost_records_leaves_no_due_waiting() -> None:
    catalog = MemoryCatalog()
    run(catalog, [[record(instance(), 3), record(due(place=(0, 9)))]])
    MemoryProgress(tables=catalog.tables).forget()
    flushed = run(catalog, [()])

    assert [settled.instances for settled in events(flushed, StudySettled)] == [1]
    assert MemoryProgress(tables=catalog.tables).applied() == ()


def test_a_revision_that_was_not_sent_before_the_broker_lost_its_due_is_announced() -> None:
    catalog = MemoryCatalog()
    unsent = run(catalog, [numbered([instance(), due()])])
    MemoryProgress(tables=catalog.tables).forget()

    assert events(run(catalog, [()]), StudySettled) == events(unsent, StudySettled) != []


def test_a_database_that_refuses_every_attempt_is_unavailable() -> None:
    catalog = MemoryCatalog(outage=Outage.REFUSES)

    with pytest.raises(Unavailable):
        flush(catalog, 0, None, numbered([instance()]), 0)


def test_the_latest_end_of_a_transfer_is_kept() -> None:
    catalog = MemoryCatalog()
    late = ended(second=2, instances=5)
    run(catalog, [numbered([late]), numbered([ended(second=1, instances=9)])])

    assert [row.instances for row in catalog.tables.transfers.values()] == [5]


@pytest.mark.parametrize("place", ["storable_instance", "instance_change"])
def test_a_record_at_which_the_code_fails_is_rejected_alone(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(module, place)

    def wrong(*arguments: Any) -> Any:
        if "1.2.1.9.2" in repr(arguments):
            raise KeyError
        return right(*arguments)

    monkeypatch.setattr(module, place, wrong)
    catalog = MemoryCatalog()
    flushed = run(catalog, [numbered([instance(sop="1"), instance(sop="2"), instance(sop="3")])])

    assert [(one.reason, one.origin_offset) for one in events(flushed, RecordRejected)] == [("unforeseen-KeyError", 1)]
    assert [row.sop_uid for row in catalog.tables.instances.values()] == ["1.2.1.9.1", "1.2.1.9.3"]
