"""Another number of shards is refused at a start, until the progress of the catalog job is given to the new shards."""

from pathlib import Path

import pytest

from operators.catalog.flush import flush
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from operators.connectors.memory.stores import Outage
from operators.stream.origin import Origin
from pipelines.jobs import CATALOG, STUDY
from pipelines.launch import resharding
from pipelines.launch.checkpoints import OtherState, folder_of
from pipelines.launch.resharding import NothingToReshard
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError
from tests.support.worlds.catalog_histories import due, instance, record
from tests.unit.pipelines.launch.test_checkpoints import write
from tests.unit.pipelines.launch.test_losses import Broker

IDS = Broker().topic_ids(topic.name for topic in CATALOG.reads)
STORED = ("instance-stored", 0)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(checkpoint_dir=tmp_path, batch_records=10)


def written() -> MemoryProgress:
    """Return the progress of a catalog of one shard that has read 5,000 records, and in which a due waits."""
    catalog = MemoryCatalog()
    flush(catalog, 0, None, (record(instance(), 4999), record(due(place=(0, 7000)), 20)), 0, origin=Origin(IDS))
    return MemoryProgress(tables=catalog.tables)


def offsets(progress: MemoryProgress) -> set[tuple[int, int, str, int]]:
    return {(row.shards, row.shard, row.topic, row.offset) for row in progress.applied()}


def test_more_subtasks_than_shards_are_refused_with_what_to_do() -> None:
    with pytest.raises(
        SettingsError, match=r"FLUORO_JOB_SHARDS: 1 is less than the parallelism 2.*jobs reshard 8"
    ) as told:
        resharding.check_parallelism(CATALOG, JobSettings(parallelism=2))

    assert len(str(told.value).splitlines()) == 1
    resharding.check_parallelism(CATALOG, JobSettings(parallelism=2, shards=2))
    resharding.check_parallelism(STUDY, JobSettings(parallelism=2))


def test_a_catalog_of_other_shards_refuses_its_job_alone(settings: JobSettings) -> None:
    with pytest.raises(OtherState, match="jobs reshard 3"):
        resharding.check_shards(CATALOG, settings.with_shards(3), written())

    resharding.check_shards(CATALOG, settings, written())
    resharding.check_shards(STUDY, settings.with_shards(3), written())
    resharding.check_shards(CATALOG, settings.with_shards(3), MemoryProgress())
    resharding.check_shards(CATALOG, settings.with_shards(3), MemoryProgress(outage=Outage.REFUSES))


def test_every_new_shard_begins_where_all_old_ones_were(settings: JobSettings) -> None:
    progress = written()
    committed = {STORED: 5000, ("study-due", 0): 21}
    servers = Servers(Broker(offsets={CATALOG.name: committed}), progress)

    assert resharding.reshard(2, settings, servers) == {1}
    # What the buffer of the last checkpoint may have held is read again: 10 records.
    assert offsets(progress) == {
        (2, shard, topic, offset)
        for shard in (0, 1)
        for topic, offset in (("instance-stored", 4989), ("study-due", 10))
    }
    assert [shard for shard, _ in progress.tables.waiting] == [(2, 1)]
    assert progress.went_back(2) == {0, 1}


def test_a_job_that_has_committed_nothing_begins_at_the_earliest_record(settings: JobSettings) -> None:
    progress = written()
    resharding.reshard(2, settings, Servers(Broker(), progress))

    assert {offset for *_, offset in offsets(progress)} == {-1}


def test_a_second_call_changes_nothing(settings: JobSettings) -> None:
    progress = written()
    servers = Servers(Broker(), progress)
    resharding.reshard(2, settings, servers)
    before = progress.tables.backup()

    assert resharding.reshard(2, settings, servers) == {2}
    assert progress.tables == before


def test_checkpoints_of_other_shards_are_set_aside_by_a_second_call_too(settings: JobSettings) -> None:
    servers = Servers(Broker(), written())
    for _ in range(2):
        write(folder_of(CATALOG, settings), "a", 1, 100)
        resharding.reshard(2, settings, servers)

        assert not folder_of(CATALOG, settings).exists()


def test_a_catalog_without_progress_needs_no_other_shards(settings: JobSettings) -> None:
    with pytest.raises(NothingToReshard):
        resharding.reshard(2, settings, Servers(Broker(), MemoryProgress()))
