"""Every job begins again without state when the broker has lost records that are in the state of any job."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from operators.connectors.kafka.positions import Extent, Partition
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from pipelines.jobs import CATALOG, JOBS, STUDY
from pipelines.launch import checkpoints, losses
from pipelines.launch.checkpoints import folder_of
from pipelines.launch.losses import out_of_range
from schemas.settings.jobs import JobSettings
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import instance, record, run
from tests.unit.pipelines.launch.test_checkpoints import write

EXTENTS = {("instance-stored", 0): Extent(10, 20)}


@dataclass
class Broker:
    """A broker in memory: each topic has one partition with records from `earliest` up to `end`.

    Those from `young` on are younger than any moment that is asked for.
    """

    ids: dict[str, str] = field(default_factory=dict)
    end: int = 20
    offsets: dict[str, dict[Partition, int]] = field(default_factory=dict)
    earliest: int = 0
    young: int = 0
    asked_for_ids: int = 0

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        self.asked_for_ids += 1
        return {topic: self.ids.get(topic, f"{topic}-1") for topic in topics}

    def extents(self, topics: Iterable[str]) -> dict[Partition, Extent]:
        return {(topic, 0): Extent(self.earliest, self.end) for topic in topics}

    def offsets_at(self, topics: Iterable[str], at_ms: int) -> dict[Partition, int]:
        assert at_ms > 0
        return {(topic, 0): max(self.young, self.earliest) for topic in topics}

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        offsets = self.offsets.get(group, {})
        return {place: offsets[place] for place in partitions if place in offsets}

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        self.offsets.setdefault(group, {}).update(offsets)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    """Return the settings of two jobs that have run and left a checkpoint each."""
    made = JobSettings(checkpoint_dir=tmp_path)
    for job in JOBS:
        write(folder_of(job, made), "run", 1, 100)
    losses.guard(Broker(), made)
    return made


def has_state(settings: JobSettings) -> dict[str, bool]:
    """Start both jobs; return by name if they continue from a checkpoint."""
    for job in JOBS:
        losses.begin_again_if_marked(job, settings, MemoryProgress(), Broker())
    return {job.name: bool(checkpoints.complete(folder_of(job, settings))) for job in JOBS}


@pytest.mark.parametrize(("offset", "lost"), [(9, 0), (10, 0), (20, 0), (21, 1)])
def test_an_offset_beyond_the_brokers_end_is_a_loss(offset: int, lost: int) -> None:
    assert len(out_of_range({("instance-stored", 0): offset}, EXTENTS)) == lost


def test_a_topic_that_is_no_longer_read_is_no_loss() -> None:
    assert out_of_range({("other", 0): 99}, EXTENTS) == []


def test_jobs_continue_from_their_state_when_the_broker_lost_nothing(settings: JobSettings) -> None:
    losses.guard(Broker(offsets={"study": {(INSTANCE_STORED.name, 0): 20}}), settings)

    assert has_state(settings) == {"study": True, "catalog": True}


def test_every_job_begins_again_when_a_topic_was_created_again(settings: JobSettings) -> None:
    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)

    assert has_state(settings) == {"study": False, "catalog": False}


def test_every_job_begins_again_when_one_group_is_beyond_the_brokers_end(settings: JobSettings) -> None:
    losses.guard(Broker(offsets={"study": {(INSTANCE_STORED.name, 0): 21}}), settings)

    assert has_state(settings) == {"study": False, "catalog": False}


def test_a_job_that_starts_alone_leaves_the_marks_of_the_others(settings: JobSettings) -> None:
    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)
    losses.begin_again_if_marked(STUDY, settings, MemoryProgress(), Broker())

    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)
    assert not losses.is_marked(STUDY, settings)
    assert losses.is_marked(CATALOG, settings)


def test_a_marked_job_begins_again_only_once(settings: JobSettings) -> None:
    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)
    losses.begin_again_if_marked(STUDY, settings, MemoryProgress(), Broker())
    write(folder_of(STUDY, settings), "next", 1, 200)

    assert has_state(settings) == {"study": True, "catalog": False}


def test_the_jobs_begin_again_once_though_nothing_comes_to_the_partition_that_lost_records(
    settings: JobSettings,
) -> None:
    broker = Broker(end=20, offsets={job.name: {(INSTANCE_STORED.name, 0): 21} for job in JOBS})
    losses.guard(broker, settings)
    for job in JOBS:
        losses.begin_again_if_marked(job, settings, MemoryProgress(), broker)

    losses.guard(broker, settings)

    assert [losses.is_marked(job, settings) for job in JOBS] == [False, False]


def test_a_job_that_begins_again_leaves_no_state_of_other_shards_behind(settings: JobSettings) -> None:
    other = replace(settings, shards=8)
    write(folder_of(CATALOG, other), "run", 1, 100)
    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)

    losses.begin_again_if_marked(CATALOG, settings, MemoryProgress(), Broker())
    assert checkpoints.complete(folder_of(CATALOG, settings)) == []
    assert checkpoints.complete(folder_of(CATALOG, other)) == []


def test_topic_ids_that_an_earlier_release_wrote_are_known(tmp_path: Path) -> None:
    settings = JobSettings(checkpoint_dir=tmp_path)
    (tmp_path / "topics.json").write_text('{"instance-stored": "old"}')

    assert losses.losses(Broker(), tmp_path, {INSTANCE_STORED.name: "new"}) == [
        "instance-stored was deleted and created again"
    ]
    assert not losses.is_marked(STUDY, settings)


def test_the_catalogs_progress_is_forgotten_when_its_offsets_name_other_records(settings: JobSettings) -> None:
    progress, records = MemoryProgress(), [record(instance(), 7)]
    run(MemoryCatalog(tables=progress.tables), [records])
    losses.guard(Broker(ids={INSTANCE_STORED.name: "another"}), settings)

    losses.begin_again_if_marked(STUDY, settings, progress, Broker())
    assert progress.applied() != ()
    losses.begin_again_if_marked(CATALOG, settings, progress, Broker())
    assert progress.applied() == ()


def test_the_topics_ids_are_asked_for_once_and_kept(settings: JobSettings) -> None:
    broker = Broker(ids={INSTANCE_STORED.name: "another"})
    losses.guard(broker, settings)

    assert broker.asked_for_ids == 1
    assert losses.topic_ids(settings)[INSTANCE_STORED.name] == "another"
