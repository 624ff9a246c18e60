"""The changes of a batch: which rows it writes, deletes and counts again, given the rows of the catalog."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from operators.catalog.changes import instance_change, study_and_series_changes
from operators.catalog.ports import KnownRows, SeriesTotals
from operators.catalog.projection import StorableInstance, merged_row, series_row, storable_instance, study_row
from operators.catalog.rows import ConflictRow, Content, SeriesKey
from operators.dicom.frames import unpack
from operators.errors import Rejected
from schemas.events import Facts
from tests.support.worlds.catalog_histories import CT, JPEG, MR, NOON, behind, instance

SERIES = SeriesKey("local", "1.2.1", "1.2.1.1")


def known(
    shown: Sequence[Content] = (), lost: Sequence[ConflictRow] = (), rows: Sequence[StorableInstance] = ()
) -> KnownRows:
    """Return known rows under version 5: contents, and the study and series rows that these instances made."""
    return KnownRows(
        5,
        {arrived.study_key: study_row(arrived) for arrived in rows},
        {arrived.series_key: series_row(arrived) for arrived in rows},
        {storable_instance(instance()).key: content for content in shown},
        {storable_instance(instance()).key: tuple(lost)} if lost else {},
    )


def test_a_new_instance_is_written_under_the_new_version_and_its_series_is_counted() -> None:
    arrived = storable_instance(instance())
    change = instance_change(known(), [arrived])

    assert [(row.sop_uid, row.version) for row in change.shown] == [("1.2.1.9.1", 5)]
    assert change.touched == {SERIES}
    assert (change.lost, change.cleared, change.conflicts) == ((), (), ())


def test_a_repeat_changes_nothing() -> None:
    arrived = storable_instance(instance())
    change = instance_change(known(shown=[arrived.content]), [arrived, arrived])

    assert (change.shown, change.lost, change.cleared, change.touched, change.conflicts) == (
        (),
        (),
        (),
        frozenset(),
        (),
    )


def test_each_instance_of_a_batch_is_written_and_their_series_are_counted() -> None:
    arrived = [
        storable_instance(instance(series=series, sop=sop)) for series, sop in (("1", "1"), ("1", "2"), ("2", "3"))
    ]
    change = instance_change(known(), arrived)

    assert {row.sop_uid for row in change.shown} == {stored.event.sop_uid for stored in arrived}
    assert change.touched == {stored.series_key for stored in arrived}


def test_a_repeated_content_keeps_the_row_of_its_first_transfer_in_any_order() -> None:
    late, early = storable_instance(instance(transfer="t2")), storable_instance(instance(transfer="t1"))
    after, together = instance_change(known(shown=[late.content]), [early]), instance_change(known(), [early, late])

    assert [row.transfer_id for row in after.shown] == ["t1"]
    assert [row.transfer_id for row in together.shown] == ["t1"]


def test_an_instance_stored_again_behind_another_prefix_has_the_places_of_the_new_object_in_any_order() -> None:
    first, again = instance(), behind(instance(second=9, transfer="t9"), "1" * 64)
    before, after = storable_instance(first), storable_instance(again)
    for shown, arrived in (([before.content], [after]), ([after.content], [before]), ([], [after, before])):
        change = instance_change(known(shown=shown), arrived)

        (row,) = change.shown
        assert (row.stored_at, row.transfer_id) == (first.stored_at, first.transfer_id)
        assert (row.size_bytes, row.prefix_hash) == (again.size_bytes, again.prefix_hash)
        assert (row.prefix_length, row.header_length) == (again.prefix_length, again.header_length)
        assert unpack(row.frames) == again.frames
        assert change.touched == {SERIES}


def test_a_conflict_that_turns_out_to_be_first_has_the_places_of_its_last_object() -> None:
    shown, other = storable_instance(instance(second=5)), instance(content="b", second=6)
    again = storable_instance(behind(replace(other, stored_at=NOON + timedelta(seconds=9)), "1" * 64))
    lost = instance_change(known(shown=[shown.content]), [storable_instance(other), again]).lost
    early = storable_instance(replace(other, stored_at=NOON))
    change = instance_change(known(shown=[shown.content], lost=lost), [early])

    (row,) = change.shown
    assert (row.stored_at, row.last_stored_at) == (NOON, again.event.stored_at)
    assert (row.size_bytes, row.prefix_hash) == (again.event.size_bytes, again.event.prefix_hash)
    assert unpack(row.frames) == again.event.frames


def test_two_events_that_cannot_be_of_one_data_set_are_rejected() -> None:
    forged = storable_instance(instance(second=9, size_bytes=100))

    with pytest.raises(Rejected, match="not-its-size"):
        instance_change(known(shown=[forged.content]), [storable_instance(instance())])


def test_a_row_of_before_takes_the_object_that_the_next_event_tells_of() -> None:
    arrived = storable_instance(instance())
    before = replace(arrived.content, last_stored_at=datetime(1970, 1, 1, tzinfo=UTC))
    (row,) = instance_change(known(shown=[before]), [arrived]).shown

    assert row == merged_row(arrived, arrived.content, 5)


def test_a_replayed_content_has_its_conflict_once_more_and_no_row() -> None:
    shown, late = storable_instance(instance()), storable_instance(instance(content="b", second=5))
    lost = instance_change(known(shown=[shown.content]), [late]).lost
    for again in (shown, late):
        change = instance_change(known(shown=[shown.content], lost=lost), [again])

        assert change.conflicts == ((shown.content, lost[0]),)
        assert (change.shown, change.lost, change.cleared, change.touched) == ((), (), (), frozenset())


def test_a_new_content_has_its_own_conflict_and_no_earlier_one() -> None:
    shown, *others = (storable_instance(instance(content=name, second=at)) for at, name in enumerate("abc"))
    lost = instance_change(known(shown=[shown.content]), others).lost
    new = storable_instance(instance(content="d", second=9))
    change = instance_change(known(shown=[shown.content], lost=lost), [new])

    assert len(lost) == 2
    assert [row.data_hash for _, row in change.conflicts] == [new.content.data_hash]


def test_conflicts_get_new_kinds_when_the_shown_content_changes() -> None:
    first, second, third = (storable_instance(instance(content=name, second=9 - at)) for at, name in enumerate("abc"))
    lost = instance_change(known(shown=[second.content]), [first]).lost
    re_encoded = storable_instance(replace(third.event, transfer_syntax=JPEG))
    change = instance_change(known(shown=[second.content], lost=lost), [re_encoded])

    assert [row.kind for row in lost] == ["content"]
    assert {row.data_hash: row.kind for row in change.lost} == {
        first.content.data_hash: "re-encoded",
        second.content.data_hash: "re-encoded",
    }


def test_a_later_content_becomes_a_conflict_of_the_shown_one() -> None:
    shown, late = storable_instance(instance()), storable_instance(instance(content="b", second=5))
    change = instance_change(known(shown=[shown.content]), [late])

    assert (change.shown, change.touched) == ((), frozenset())
    assert [row.data_hash for row in change.lost] == [late.content.data_hash]
    assert [(winner.data_hash, loser.data_hash) for winner, loser in change.conflicts] == [
        (shown.content.data_hash, late.content.data_hash)
    ]


def test_an_earlier_content_becomes_the_shown_one_and_its_conflict_is_cleared() -> None:
    shown = storable_instance(instance(second=5))
    lost = instance_change(known(shown=[shown.content]), [storable_instance(instance(content="b", second=9))]).lost
    change = instance_change(
        known(shown=[shown.content], lost=lost), [storable_instance(instance(content="b", second=1))]
    )

    assert [row.data_hash for row in change.shown] == [lost[0].data_hash]
    assert change.cleared == (("local", "1.2.1", "1.2.1.9.1", lost[0].data_hash),)
    assert [row.data_hash for row in change.lost] == [shown.content.data_hash]


def test_an_instance_that_moves_to_another_series_has_both_counted_again() -> None:
    shown = storable_instance(instance(second=5))
    change = instance_change(
        known(shown=[shown.content]), [storable_instance(instance(series="2", content="b", second=1))]
    )

    assert change.touched == {SERIES, SeriesKey("local", "1.2.1", "1.2.1.2")}


def test_the_first_instance_gives_study_and_series_their_attributes() -> None:
    first = storable_instance(instance(sop="1", second=1, facts=Facts(study_description="FIRST", modality="CT")))
    second = storable_instance(instance(sop="2", second=2, facts=Facts(study_description="SECOND", modality="CT")))
    totals = {SERIES: SeriesTotals(2, 2002, (CT,))}
    (study,), (series,) = study_and_series_changes(known(), [second, first], totals)

    assert (study.study_description, study.first_sop_uid, series.first_sop_uid) == ("FIRST", "1.2.1.9.1", "1.2.1.9.1")


def test_an_earlier_content_of_the_first_instance_gives_the_study_its_attributes() -> None:
    before = storable_instance(instance(content="b", second=5, facts=Facts(study_description="LATE")))
    first = storable_instance(instance(content="a", second=0, facts=Facts(study_description="EARLY")))
    (study,), _ = study_and_series_changes(known(rows=[before]), [first], {SERIES: SeriesTotals(1, 1001, (CT,))})

    assert (study.study_description, study.first_data_hash, study.instances) == ("EARLY", first.content.data_hash, 1)


def test_a_later_instance_changes_counts_and_no_attributes() -> None:
    before = storable_instance(instance(sop="1", second=1, facts=Facts(study_description="FIRST")))
    later = storable_instance(instance(sop="2", second=2, facts=Facts(study_description="LATER")))
    (study,), (series,) = study_and_series_changes(
        known(rows=[before]), [later], {SERIES: SeriesTotals(2, 2002, (CT,))}
    )

    assert (study.study_description, study.first_sop_uid) == ("FIRST", before.event.sop_uid)
    assert (study.instances, series.instances, series.size_bytes) == (2, 2, 2002)


def test_rows_that_are_written_have_the_new_version() -> None:
    (study,), (series,) = study_and_series_changes(known(), [storable_instance(instance())], {})

    assert (study.version, series.version) == (5, 5)


def test_a_series_without_a_modality_is_counted_and_adds_none_to_its_study() -> None:
    arrived = storable_instance(instance(facts=Facts()))
    (study,), _ = study_and_series_changes(known(), [arrived], {SERIES: SeriesTotals(1, 1001, (CT,))})

    assert (study.series, study.modalities, study.sop_classes) == (1, (), (CT,))


def test_a_study_counts_only_its_series_with_shown_instances() -> None:
    ct, mr = storable_instance(instance()), storable_instance(instance(series="2", sop="2", facts=Facts(modality="MR")))
    totals = {SERIES: SeriesTotals(3, 300, (CT,)), mr.series_key: SeriesTotals(0, 0, ())}
    (study,), _ = study_and_series_changes(known(), [ct, mr], totals)
    totals[mr.series_key] = SeriesTotals(1, 50, (MR,))
    (both,), _ = study_and_series_changes(known(), [ct, mr], totals)

    assert (study.series, study.instances, study.size_bytes, study.modalities) == (1, 3, 300, ("CT",))
    assert (both.series, both.instances, both.size_bytes) == (2, 4, 350)
    assert (both.modalities, both.sop_classes) == (("CT", "MR"), (CT, MR))


def test_an_earlier_instance_changes_attributes_and_keeps_the_counts() -> None:
    before = storable_instance(instance(sop="2", second=5, facts=Facts(modality="CT", series_description="LATE")))
    rows = known(rows=[before])
    counted = replace(rows, series={SERIES: replace(rows.series[SERIES], instances=7, size_bytes=70)})
    first = storable_instance(instance(sop="1", second=1, facts=Facts(modality="CT", series_description="EARLY")))
    _, (series,) = study_and_series_changes(counted, [first], {})

    assert (series.series_description, series.instances, series.size_bytes) == ("EARLY", 7, 70)


def test_unchanged_rows_are_not_written() -> None:
    arrived = storable_instance(instance())
    counted = {SERIES: SeriesTotals(1, 1001, (CT,))}
    studies, series = study_and_series_changes(known(), [arrived], counted)
    rows = replace(known(), studies={arrived.study_key: studies[0]}, series={SERIES: series[0]})

    assert study_and_series_changes(rows, [arrived], counted) == ((), ())
