"""The rows of an event: how it is checked, which facts each level has, and which identifiers are refused."""

from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from operators.catalog.projection import (
    MAX_INT,
    MAX_WARNINGS,
    check_identifiers,
    check_numbers,
    instance_row,
    quarantine_row,
    series_row,
    storable_instance,
    study_row,
    transfer_row,
)
from operators.catalog.rows import QuarantineRow
from operators.dicom.frames import unpack
from operators.errors import Rejected
from schemas.events import Facts, Frames, QuarantineState
from tests.support.worlds.catalog_histories import NOON, due, ended, instance, quarantined


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "No One"},
        {"tenant": ""},
        {"study_uid": "1..2"},
        {"study_uid": "1." * 32 + "1"},
        {"event_id": "7"},
        {"event_id": ended().event_id.upper()},
    ],
)
def test_an_event_with_an_impossible_identifier_is_rejected(change: dict[str, Any]) -> None:
    check_identifiers(ended())

    with pytest.raises(Rejected, match="not-a-study-of-ours"):
        check_identifiers(replace(ended(), **change))


@pytest.mark.parametrize("place", [None, (0, 0), (MAX_INT, 0)])
def test_a_due_may_name_any_partition_of_kafka_or_none(place: tuple[int, int] | None) -> None:
    check_numbers(due(place=place))


@pytest.mark.parametrize("partition", [-1, MAX_INT + 1])
def test_a_due_of_an_impossible_partition_is_rejected(partition: int) -> None:
    with pytest.raises(Rejected, match="not-a-place"):
        check_numbers(due(place=(partition, 0)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"object_key": "local/1/2/3.dcm"}, "not-its-object-key"),
        ({"object_key": instance().object_key.replace("local", "other")}, "not-its-object-key"),
        ({"series_uid": "../1"}, "not-an-instance-of-ours"),
        ({"sop_uid": ""}, "not-an-instance-of-ours"),
        ({"data_hash": "A" * 64}, "not-an-instance-of-ours"),
        ({"frames": Frames(kind="native", offset=-1, length=1, count=1)}, "not-frames"),
        ({"frames": Frames(kind="native", offset=1, length=-1, count=1)}, "not-frames"),
        ({"frames": Frames(kind="native", offset=1, length=1, count=-1)}, "not-frames"),
    ],
)
def test_an_instance_whose_event_cannot_be_ours_is_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        storable_instance(replace(instance(), **change))


def test_the_row_of_each_level_has_its_own_facts() -> None:
    facts = Facts(
        patient_id="P1",
        patient_name="Müller^Anna",
        study_date="20260301",
        study_description="HEAD",
        modality="CT",
        series_description="AXIAL",
        instance_number="7",
    )
    stored = storable_instance(instance(facts=facts))
    study, series, row = study_row(stored), series_row(stored), instance_row(stored, 4)

    assert (study.patient_id, study.study_date, study.study_description) == ("P1", date(2026, 3, 1), "HEAD")
    assert study.patient_name_folded == "muller^anna"
    assert (series.modality, series.series_description) == ("CT", "AXIAL")
    assert (row.instance_number, row.patient_id, row.version) == (7, "P1", 4)


def test_each_row_has_the_key_of_its_instance() -> None:
    stored = storable_instance(instance(study="1.2.1", series="3", sop="4"))
    study, series, row = study_row(stored), series_row(stored), instance_row(stored, 1)

    assert (study.tenant, study.study_uid) == stored.study_key == ("local", "1.2.1")
    assert (series.tenant, series.study_uid, series.series_uid) == stored.series_key == ("local", "1.2.1", "1.2.1.3")
    assert (row.tenant, row.study_uid, row.sop_uid) == stored.key == ("local", "1.2.1", "1.2.1.9.4")


def test_study_and_series_name_the_instance_that_gave_them_their_attributes() -> None:
    stored = storable_instance(instance(second=7))
    first = (NOON + timedelta(seconds=7), stored.event.sop_uid, stored.event.data_hash)

    assert stored.precedence == first
    for row in (study_row(stored), series_row(stored)):
        assert (row.first_stored_at, row.first_sop_uid, row.first_data_hash) == first


def test_the_earlier_stored_instance_precedes_whatever_its_uid_and_content() -> None:
    late, early = instance(sop="1", second=2), instance(sop="2", second=1)
    same_moment = instance(sop="2", second=2)
    ordered = sorted([late, same_moment, early], key=lambda event: storable_instance(event).precedence)

    assert ordered == [early, late, same_moment]


def test_a_name_that_is_absent_has_no_folded_form() -> None:
    row = study_row(storable_instance(instance(facts=Facts())))

    assert (row.patient_name, row.patient_name_folded) == (None, None)


@pytest.mark.parametrize(
    ("fact", "ids"),
    [(None, ()), ("", ()), ("S1", ("S1",)), ("S2\\S1\\S2", ("S2", "S1")), ("\\S1\\", ("S1",))],
)
def test_a_series_has_each_id_of_its_requests_once_in_their_order(fact: str | None, ids: tuple[str, ...]) -> None:
    facts = Facts(scheduled_procedure_step_id=fact, requested_procedure_id=fact)
    row = series_row(storable_instance(instance(facts=facts)))

    assert (row.scheduled_procedure_step_ids, row.requested_procedure_ids) == (ids, ids)


def test_the_rows_of_a_new_study_and_series_begin_with_counts_of_zero() -> None:
    stored = storable_instance(instance())

    assert (study_row(stored).series, study_row(stored).instances, series_row(stored).instances) == (0, 0, 0)


def test_the_frames_of_an_instance_are_read_back_from_its_row() -> None:
    event = instance()

    assert unpack(instance_row(storable_instance(event), 1).frames) == event.frames


def test_a_value_that_cannot_be_stored_is_null_with_a_warning() -> None:
    stored = storable_instance(instance(facts=Facts(study_date="20261399")))

    assert study_row(stored).study_date is None
    assert instance_row(stored, 1).warnings == ("study-date-unreadable",)


def test_an_instance_has_each_of_its_warnings_once() -> None:
    facts = Facts(study_date="x", patient_name="n" * 300)
    stored = storable_instance(instance(facts=facts, warnings=("uid-zeros", "uid-zeros")))

    assert instance_row(stored, 1).warnings == ("uid-zeros", "patient-name-cut", "study-date-unreadable")


def test_an_instance_is_warned_of_attributes_that_are_cut_in_its_study() -> None:
    text = "\U00020bb7" * 1024
    facts = Facts(patient_name=text, study_description=text, referring_physician_name=text, patient_id=text)
    stored = storable_instance(instance(facts=facts))

    assert "attributes-cut" in instance_row(stored, 1).warnings
    assert study_row(stored).attributes["00100010"]["Value"] == [{"Alphabetic": text[:256]}]


def test_warnings_are_distinct_and_bounded() -> None:
    many = tuple(f"warning-{number}" for number in range(2 * MAX_WARNINGS))
    row = instance_row(storable_instance(instance(warnings=("odd-length", "odd-length", *many))), 1)

    assert row.warnings[0] == "odd-length"
    assert len(row.warnings) == len(set(row.warnings)) == MAX_WARNINGS


def test_the_end_of_a_transfer_gives_its_row() -> None:
    row = transfer_row(ended(second=9, instances=3))

    assert (row.transfer_id, row.outcome, row.instances) == ("t1", "well", 3)
    assert (row.began_at, row.ended_at) == (NOON, NOON + timedelta(seconds=9))


def test_the_end_of_a_transfer_says_who_sent_how_much_and_what_was_refused() -> None:
    told = {"peer": "ct1", "calling_ae": "CT1", "called_ae": "FLUORO", "address": "10.1.0.7", "size_bytes": 9}
    row = transfer_row(replace(ended(), **told, refused={"too-large": 1}))  # type: ignore[arg-type]

    assert {name: getattr(row, name) for name in told} == told
    assert row.refused == {"too-large": 1}


@pytest.mark.parametrize("state", ["held", "released", "discarded"])
def test_a_quarantined_content_has_the_state_and_the_values_of_its_event(state: QuarantineState) -> None:
    event = quarantined(state=state)

    assert quarantine_row(event) == QuarantineRow(
        **{column.name: getattr(event, column.name) for column in fields(QuarantineRow) if column.name != "event_id"},
        event_id=UUID(event.event_id),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "No One"},
        {"data_hash": "../x"},
        {"object_key": "local/x"},
        {"object_key": f"other/{quarantined().data_hash}"},
        {"event_id": "7"},
    ],
)
def test_a_quarantined_content_that_cannot_be_ours_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="not-a-content-of-ours"):
        quarantine_row(replace(quarantined(), **change))
