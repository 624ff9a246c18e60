"""The launcher finds rows that are behind what the catalog job has read, and only those."""

from dataclasses import replace
from pathlib import Path

import pytest

from operators.catalog.flush import flush
from operators.connectors.kafka.positions import Extent
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress, MemoryTables
from operators.connectors.memory.stores import Outage
from operators.errors import Unavailable
from operators.stream.origin import Origin
from pipelines.jobs import CATALOG
from pipelines.launch import losses, rows
from pipelines.launch.rows import BEHIND_S, Servers, Suspicion, announced, origin_at_rows, positions_behind, suspicion
from schemas.settings.jobs import JobSettings
from tests.support.worlds.catalog_histories import due, instance, numbered, record, run
from tests.unit.pipelines.launch.test_losses import Broker
from tests.unit.pipelines.launch.test_start import IDS

PLACE = ("instance-stored", 0)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    made = JobSettings(checkpoint_dir=tmp_path)
    losses.guard(Broker(), made)
    return made


def applied(offset: int) -> MemoryProgress:
    """Return the progress of a catalog whose last applied offset is this one."""
    catalog = MemoryCatalog()
    flush(catalog, 0, None, (record(instance(), offset),), 0, origin=Origin(IDS))
    return MemoryProgress(tables=catalog.tables)


def servers(committed: int, progress: MemoryProgress) -> Servers:
    return Servers(Broker(offsets={CATALOG.name: {PLACE: committed}}), progress)


@pytest.mark.parametrize(("committed", "is_suspected"), [(7, False), (8, False), (9, True)])
def test_records_that_were_read_and_are_not_in_the_rows_raise_a_suspicion(
    settings: JobSettings,
    committed: int,
    is_suspected: bool,  # noqa: FBT001
) -> None:
    found = suspicion(None, settings, servers(committed, applied(7)), 5.0)

    assert found == (Suspicion({PLACE: 8}, 5.0) if is_suspected else None)


def test_rows_that_move_begin_another_suspicion(settings: JobSettings) -> None:
    first = suspicion(None, settings, servers(12, applied(7)), 5.0)

    assert suspicion(first, settings, servers(12, applied(7)), 6.0) == first
    assert suspicion(first, settings, servers(12, applied(8)), 6.0) == Suspicion({PLACE: 9}, 6.0)


def test_a_suspicion_is_certain_once_no_buffer_explains_it(settings: JobSettings) -> None:
    found = suspicion(None, settings, servers(12, applied(7)), 5.0)
    after = 5.0 + BEHIND_S + settings.batch_s

    assert [rows.is_certain(found, settings, now) for now in (5.0, after, after + 1)] == [False, False, True]
    assert not rows.is_certain(None, settings, after + 1)


def test_a_job_that_was_upgraded_and_has_no_rows_yet_is_not_suspected(settings: JobSettings) -> None:
    assert suspicion(None, settings, servers(12, MemoryProgress()), 5.0) is None


def test_a_job_that_was_upgraded_is_not_suspected_before_each_of_its_shards_has_rows(settings: JobSettings) -> None:
    settings, catalog = replace(settings, shards=2), MemoryCatalog(shards=2)
    progress = MemoryProgress(tables=catalog.tables)
    found = []
    for shard, offset in ((0, 7), (1, 5)):
        flush(catalog, shard, None, (record(instance(sop=str(shard)), offset),), 0, origin=Origin(IDS))
        found.append(suspicion(None, settings, servers(12, progress), 5.0))

    assert found == [None, Suspicion({PLACE: 8}, 5.0)]


def test_a_database_without_the_rows_that_it_had_is_suspected(settings: JobSettings) -> None:
    suspicion(None, settings, servers(8, applied(7)), 5.0)

    assert suspicion(None, settings, servers(8, MemoryProgress()), 6.0) == Suspicion({PLACE: 0}, 6.0)


@pytest.mark.parametrize("extent", [Extent(12, 12), Extent(3, 8)])
def test_records_that_the_broker_no_longer_has_raise_no_suspicion(extent: Extent) -> None:
    assert positions_behind({PLACE: 8}, {PLACE: 12}, {PLACE: extent}) == {}


def test_a_catalog_that_does_not_answer_is_not_suspected(settings: JobSettings) -> None:
    with pytest.raises(Unavailable):
        suspicion(None, settings, servers(12, MemoryProgress(outage=Outage.REFUSES)), 5.0)


def test_a_job_that_begins_at_its_rows_does_not_stop_because_records_expired_before_any_was_in_the_rows(
    settings: JobSettings,
) -> None:
    catalog = MemoryCatalog()
    flush(catalog, 0, None, (record(instance(), 7),), 0, origin=Origin(IDS))
    # No record of the other topics is in the rows, and the broker has deleted their first ones.
    expired = Servers(Broker(earliest=3), MemoryProgress(tables=catalog.tables))
    origin = origin_at_rows(CATALOG, settings, expired)

    assert flush(catalog, 0, None, (record(instance(sop="2"), 8),), 0, origin=origin).stop is None
    assert len(catalog.tables.instances) == 2


@pytest.mark.parametrize(
    ("noted", "expected"), [(set(), {0: 7, 1: 9}), ({(2, 1)}, {0: 0, 1: 9}), ({(2, 0), (2, 1)}, {0: 7, 1: 9})]
)
def test_a_shard_announces_everything_again_if_only_another_one_has_noted_what_was_sent(
    noted: set[tuple[int, int]], expected: dict[int, int]
) -> None:
    tables = MemoryTables(announced={(2, 0): 7, (2, 1): 9}, behind=noted)

    assert announced(2, MemoryProgress(tables=tables)) == expected


def test_a_shard_that_begins_at_rows_without_its_mark_announces_everything_again_at_each_start() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(), due()])], shard=0)
    # The rows of a backup that was made before there were marks.
    catalog.tables.announced.clear()
    origin = Origin({}, {("study-due", 0): 2}, announced(1, MemoryProgress(tables=catalog.tables)))
    first = flush(catalog, 0, None, (), 0, origin=origin)
    after_a_kill = flush(catalog, 0, None, (), 0, origin=origin)

    assert first.outputs == after_a_kill.outputs != ()
