"""From an event to its rows: what is checked, what each level takes, and which identifiers are refused."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from operators.catalog.projection import (
    MAX_WARNINGS,
    check_identifiers,
    check_partition,
    instance_row,
    quarantine_row,
    series_row,
    storable_instance,
    study_row,
    transfer_row,
)
from operators.dicom.frames import unpack
from operators.errors import Rejected
from schemas.events import Facts, Frames
from tests.support.worlds.catalog_histories import NOON, due, ended, instance, quarantined


@pytest.mark.parametrize("change", [{"tenant": "No One"}, {"study_uid": "1..2"}, {"event_id": "7"}])
def test_an_event_with_an_impossible_identifier_is_rejected(change: dict[str, Any]) -> None:
    check_identifiers(ended())

    with pytest.raises(Rejected, match="not-a-study-of-ours"):
        check_identifiers(replace(ended(), **change))


@pytest.mark.parametrize("partition", [-1, 2**31])
def test_a_due_of_an_impossible_partition_is_rejected(partition: int) -> None:
    check_partition(due(place=(15, 0)))

    with pytest.raises(Rejected, match="not-a-place"):
        check_partition(due(place=(partition, 0)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"object_key": "local/1/2/3.dcm"}, "not-its-object-key"),
        ({"series_uid": "../1"}, "not-an-instance-of-ours"),
        ({"frames": Frames(kind="native", offset=-1, length=1, count=1)}, "not-frames"),
    ],
)
def test_an_instance_whose_event_cannot_be_ours_is_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        storable_instance(replace(instance(), **change))


def test_each_level_takes_its_own_facts() -> None:
    facts = Facts(
        patient_id="P1",
        patient_name="Müller^Anna",
        study_date="20260301",
        study_description="HEAD",
        modality="CT",
        series_description="AXIAL",
        instance_number="7",
    )
    one = storable_instance(instance(facts=facts))
    study, series, row = study_row(one), series_row(one), instance_row(one, 4)

    assert (study.patient_id, study.study_date, study.study_description) == ("P1", date(2026, 3, 1), "HEAD")
    assert study.patient_name_folded == "muller^anna"
    assert (series.modality, series.series_description) == ("CT", "AXIAL")
    assert (row.instance_number, row.patient_id, row.version) == (7, "P1", 4)


def test_a_new_study_and_series_count_nothing_before_their_instances_are_counted() -> None:
    one = storable_instance(instance())

    assert (study_row(one).series, study_row(one).instances, series_row(one).instances) == (0, 0, 0)


def test_the_frames_of_an_instance_are_read_back_from_its_row() -> None:
    event = instance()

    assert unpack(instance_row(storable_instance(event), 1).frames) == event.frames


def test_a_value_that_cannot_be_stored_is_null_with_a_warning() -> None:
    row = study_row(storable_instance(instance(facts=Facts(study_date="20261399"))))
    warned = instance_row(storable_instance(instance(facts=Facts(study_date="20261399"))), 1).warnings

    assert row.study_date is None
    assert warned


def test_warnings_are_distinct_and_bounded() -> None:
    many = tuple(f"warning-{number}" for number in range(2 * MAX_WARNINGS))
    row = instance_row(storable_instance(instance(warnings=("odd-length", "odd-length", *many))), 1)

    assert row.warnings[0] == "odd-length"
    assert len(row.warnings) == len(set(row.warnings)) == MAX_WARNINGS


def test_a_transfers_end_is_its_row() -> None:
    row = transfer_row(ended(second=9, instances=3))

    assert (row.transfer_id, row.outcome, row.instances) == ("t1", "well", 3)
    assert row.ended_at == NOON + timedelta(seconds=9)


@pytest.mark.parametrize(
    "change", [{"tenant": "No One"}, {"data_hash": "../x"}, {"object_key": "local/x"}, {"event_id": "7"}]
)
def test_a_quarantined_content_that_cannot_be_ours_is_rejected(change: dict[str, Any]) -> None:
    assert quarantine_row(quarantined()).reason == "no-usable-uid"

    with pytest.raises(Rejected, match="not-a-content-of-ours"):
        quarantine_row(replace(quarantined(), **change))
