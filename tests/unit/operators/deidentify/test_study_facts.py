"""The facts of a study hold nothing of its patient, and are sent as often as the study's revision."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from operators.catalog.flush import flush
from operators.connectors.memory.catalog import MemoryCatalog
from operators.deidentify.study_facts import pseudonym, rounded, study_facts, with_study_facts
from operators.stream.step import Flushed, Record, Stop
from schemas.events import Facts, SeriesFacts, SettledSeries, StudyFacts, StudySettled
from schemas.topics import STUDY_FACTS, record_key
from tests.support.worlds.catalog_histories import due, instance, numbered, record

KEY = b"a key of thirty-two characters.."
SETTLED = StudySettled(
    event_id="6a1d5a50-6b7d-5d0c-9d55-2f1c5a6f3a10",
    tenant="local",
    occurred_at=datetime(2026, 11, 21, 9, 30, 15, 250_000, UTC),
    cause=("aa72d8e6-65ed-5ddd-9cbf-210552d71b85",),
    study_uid="1.2.826.0.1.3680043.10.1999.1.7",
    version=1795000000000002,
    revision=2,
    digest="5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    signal="released",
    instances=105,
    size_bytes=52_923_800,
    series=(
        SettledSeries(series_uid="1.2.7.1", modality="CT", body_part="CHEST", instances=90, digest="aa" * 32),
        SettledSeries(series_uid="1.2.7.2", modality="SR", body_part=None, instances=1, digest="ab" * 32),
        SettledSeries(series_uid="1.2.7.3", modality="CT", body_part="chest ", instances=10, digest="ac" * 32),
        SettledSeries(series_uid="1.2.7.4", modality="CT", body_part="KNEE OF DOE", instances=4, digest="ad" * 32),
    ),
    series_truncated=False,
    modalities=("CT", "SR"),
    sop_classes=("1.2.840.10008.5.1.4.1.1.2",),
)


def test_series_are_counted_by_modality_and_body_part() -> None:
    assert study_facts(SETTLED, KEY).series == (
        SeriesFacts("CT", "CHEST", series=2, instances=100),
        SeriesFacts("CT", "other", series=1, instances=4),
        SeriesFacts("SR", None, series=1, instances=1),
    )


def test_numbers_and_times_are_coarse() -> None:
    facts = study_facts(SETTLED, KEY)

    assert (facts.revision, facts.instances, facts.size_bytes) == (2, 105, 52_900_000)
    assert facts.occurred_at == datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size_bytes", "said"), [(0, 0), (9, 9), (999, 999), (1234, 1230), (5_288_123_456, 5_290_000_000)]
)
def test_a_size_has_three_digits(size_bytes: int, said: int) -> None:
    assert rounded(size_bytes) == said


def test_nothing_leads_to_the_study_or_to_other_topics() -> None:
    facts = study_facts(SETTLED, KEY)
    said = str(asdict(facts))
    ids = [SETTLED.study_uid, SETTLED.event_id, SETTLED.digest, str(SETTLED.version), *SETTLED.cause]
    ids += [text for one in SETTLED.series for text in (one.series_uid, one.digest)]

    assert [one for one in ids if one in said] == []
    assert "DOE" not in said
    assert record_key(facts) == facts.pseudonym.encode()


@pytest.mark.parametrize(
    ("tenant", "study_uid", "key"), [("other", "1.2.3", KEY), ("local", "1.2.4", KEY), ("local", "1.2.3", KEY[1:])]
)
def test_a_pseudonym_depends_on_tenant_study_and_key(tenant: str, study_uid: str, key: bytes) -> None:
    assert pseudonym("local", "1.2.3", KEY) != pseudonym(tenant, study_uid, key)


def test_each_revision_has_its_own_event_and_a_repeat_the_same() -> None:
    again, next_one = study_facts(SETTLED, KEY), study_facts(replace(SETTLED, version=SETTLED.version + 1), KEY)

    assert study_facts(SETTLED, KEY) == again
    assert again.event_id != next_one.event_id
    assert again.pseudonym == next_one.pseudonym


def flush_into(catalog: MemoryCatalog) -> Any:
    return with_study_facts(lambda *batch: flush(catalog, *batch), KEY)


def test_a_flush_sends_the_facts_of_each_revision_after_it_and_again_when_it_is_repeated() -> None:
    named = Facts(modality="CT", body_part_examined="CHEST", patient_name="DOE^JANE")
    batch = (*numbered([instance(facts=named)]), record(due()))
    flush_now = flush_into(MemoryCatalog())
    first, again = flush_now(0, None, batch, 0), flush_now(0, None, batch, 0)
    kinds = [type(output.event) for output in first.outputs]
    facts = [output for output in first.outputs if isinstance(output.event, StudyFacts)]

    assert kinds.index(StudyFacts) == kinds.index(StudySettled) + 1
    assert [output.topic for output in facts] == [STUDY_FACTS]
    assert [output.event for output in again.outputs if isinstance(output.event, StudyFacts)] == [facts[0].event]


def test_a_flush_that_stops_the_job_still_stops_it() -> None:
    stopped = Flushed(b"", stop=Stop("went-back", "the rows are behind"))

    def stopping(_shard: int, _head: bytes | None, _records: tuple[Record, ...], _now: float) -> Flushed:
        return stopped

    assert with_study_facts(stopping, KEY)(0, None, (), 0) == stopped
