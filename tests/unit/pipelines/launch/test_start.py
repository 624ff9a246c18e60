"""The state that a submitted job continues from, on any cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from operators.catalog.flush import flush
from operators.connectors.kafka.positions import Partition
from operators.connectors.memory.catalog import MemoryCatalog, MemoryProgress
from operators.connectors.memory.stores import Outage
from operators.stream.origin import Origin
from pipelines.jobs import CATALOG, JOBS, STUDY, Job
from pipelines.launch import checkpoints, losses, start
from pipelines.launch.checkpoints import OtherState, folder_of
from pipelines.launch.rows import Servers, Suspicion, suspicion
from pipelines.launch.start import NotSubmitted, RunningJob
from schemas.settings.jobs import JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED
from tests.support.worlds.catalog_histories import instance, record
from tests.unit.pipelines.launch.test_checkpoints import write
from tests.unit.pipelines.launch.test_losses import Broker

SERVERS = Servers(Broker(), MemoryProgress())


@dataclass
class Engine:
    """A cluster in memory that accepts every job, unless the job's checkpoint is unreadable."""

    unreadable: tuple[Path, ...] = ()
    taken: list[tuple[str, tuple[Any, ...], Path | None]] = field(default_factory=list)

    def submit(self, job: Job, _settings: JobSettings, sections: tuple[Any, ...], checkpoint: Path | None) -> str:
        if checkpoint in self.unreadable:
            raise NotSubmitted("unreadable")
        self.taken.append((job.name, sections, checkpoint))
        return f"{job.name}-id"


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"FLUORO_JOB_CHECKPOINT_DIR": str(tmp_path)}


def folder(job: Job, tmp_path: Path, shards: int = 1) -> Path:
    return folder_of(job, JobSettings(checkpoint_dir=tmp_path, shards=shards))


def test_a_first_start_is_without_state(environ: Mapping[str, str]) -> None:
    engine = Engine()

    assert start.submit(engine, STUDY, environ, SERVERS) == RunningJob(STUDY, "study-id")
    sections = (
        Origin(),
        BrokerSettings(),
        StudySettings(),
        JobSettings(checkpoint_dir=Path(environ["FLUORO_JOB_CHECKPOINT_DIR"])),
    )
    assert engine.taken == [("study", sections, None)]


def test_a_job_continues_from_its_newest_checkpoint(tmp_path: Path, environ: Mapping[str, str]) -> None:
    older = write(folder(STUDY, tmp_path), "a", 1, 100)
    newest = write(folder(STUDY, tmp_path), "b", 1, 200)
    engine = Engine()

    assert start.submit(engine, STUDY, environ, SERVERS).older == (older,)
    assert engine.taken[0][2] == newest


def test_a_job_whose_newest_checkpoint_cannot_be_read_continues_from_the_one_before(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    older = write(folder(STUDY, tmp_path), "a", 1, 100)
    engine = Engine(unreadable=(write(folder(STUDY, tmp_path), "b", 1, 200),))

    start.submit(engine, STUDY, environ, SERVERS)
    assert engine.taken[0][2] == older


def test_a_job_whose_checkpoints_are_all_unreadable_is_not_started(tmp_path: Path, environ: Mapping[str, str]) -> None:
    engine = Engine(unreadable=(write(folder(STUDY, tmp_path), "a", 1, 100),))

    with pytest.raises(NotSubmitted):
        start.submit(engine, STUDY, environ, SERVERS)
    assert engine.taken == []


def test_a_job_is_refused_when_its_state_has_other_shards(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(folder(CATALOG, tmp_path, shards=8), "a", 1, 100)
    engine = Engine()

    with pytest.raises(OtherState, match="8 shards, not 1"):
        start.submit(engine, CATALOG, environ, SERVERS)
    assert engine.taken == []


HAS_READ = {"study": {(INSTANCE_STORED.name, 0): 7}}


@pytest.mark.parametrize(
    ("read", "files", "says"),
    [({}, [], []), (HAS_READ, [], ["study"]), (HAS_READ, ["study.begins-again"], [])],
    ids=["its first start", "it was stopped with a savepoint", "it begins again for another reason"],
)
def test_a_job_that_has_run_and_has_no_checkpoint_says_that_it_reads_everything_again(
    tmp_path: Path,
    environ: Mapping[str, str],
    read: dict[str, dict[Partition, int]],
    files: list[str],
    says: list[str],
) -> None:
    for name in files:
        (tmp_path / name).touch()
    with capture_logs() as logged:
        start.submit(Engine(), STUDY, environ, Servers(Broker(offsets=read), MemoryProgress()))

    assert [line["job"] for line in logged if line["event"] == "job_reads_again"] == says


def test_a_marked_job_starts_without_state(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(folder(STUDY, tmp_path), "a", 1, 100)
    (tmp_path / "study.begins-again").touch()
    engine = Engine()

    start.submit(engine, STUDY, environ, SERVERS)
    assert engine.taken[0][2] is None


def test_a_marked_catalog_announces_every_revision_again_also_after_a_restart_without_a_checkpoint(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    (tmp_path / "catalog.begins-again").touch()
    engine = Engine()
    start.submit(engine, CATALOG, {**environ, "FLUORO_JOB_SHARDS": "2"}, Servers(Broker(), MemoryProgress()))

    (_, (origin, *_), _), *_ = engine.taken
    assert origin.announced == {0: 0, 1: 0}


IDS = Broker().topic_ids(topic for job in JOBS for topic in job.topics)


def gone_back() -> MemoryProgress:
    """Return the progress of a catalog that has applied offsets to 7, where a flush has noticed that it went back."""
    catalog = MemoryCatalog()
    records = (record(instance(), 7),)
    flushed = flush(catalog, 0, None, records, 0, origin=Origin(IDS))
    later = flush(catalog, 0, flushed.head, (record(instance(sop="2"), 9),), 0, origin=Origin(IDS))
    catalog.tables.applied = dict.fromkeys(catalog.tables.applied, 7)
    assert flush(catalog, 0, later.head, (record(instance(sop="3"), 12),), 0, origin=Origin(IDS)).stop
    return MemoryProgress(tables=catalog.tables)


def test_a_catalog_whose_database_went_back_begins_without_state_at_the_offsets_of_its_rows(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    write(folder(CATALOG, tmp_path), "a", 1, 100)
    losses.guard(Broker(), JobSettings(checkpoint_dir=tmp_path))
    engine, progress = Engine(), gone_back()
    start.submit(engine, CATALOG, environ, Servers(Broker(earliest=3), progress))

    name, (origin, *_), checkpoint = engine.taken[0]
    assert (name, checkpoint) == ("catalog", None)
    assert (origin.offsets["instance-stored", 0], origin.offsets["study-due", 0]) == (8, 0)
    assert origin.topic_ids == IDS
    assert not progress.went_back(shards=1)


@pytest.mark.parametrize("name", ["shards-1-process", "process-1"], ids=["the other mode", "an earlier release"])
def test_a_catalog_whose_state_has_another_form_begins_at_its_rows_and_announces_all_again(
    tmp_path: Path, environ: Mapping[str, str], name: str
) -> None:
    write(tmp_path / "catalog" / name, "a", 1, 100)
    catalog, engine, place = MemoryCatalog(), Engine(), (INSTANCE_STORED.name, 0)
    flush(catalog, 0, None, (record(instance(), 7000),), 0, origin=Origin(IDS))
    broker = Broker(end=8000, offsets={"catalog": {place: 5000}})
    losses.guard(broker, JobSettings(checkpoint_dir=tmp_path))
    start.submit(engine, CATALOG, environ, Servers(broker, MemoryProgress(tables=catalog.tables)))
    ((_, (origin, *_), checkpoint),) = engine.taken

    assert checkpoint is None
    # What buffers of an earlier release may have held is read again.
    assert origin.offsets[place] == 5000 - JobSettings().batch_records
    assert origin.announced == {0: 0}
    assert not checkpoints.has_other_form(folder(CATALOG, tmp_path))


def test_another_job_continues_from_its_checkpoint_when_the_catalog_went_back(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    newest = write(folder(STUDY, tmp_path), "a", 1, 100)
    engine = Engine()
    start.submit(engine, STUDY, environ, Servers(Broker(), gone_back()))

    assert engine.taken[0][2] == newest


def test_a_catalog_that_does_not_answer_lets_its_job_continue_from_its_checkpoint(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    newest = write(folder(CATALOG, tmp_path), "a", 1, 100)
    engine = Engine()
    start.submit(engine, CATALOG, environ, Servers(Broker(), MemoryProgress(outage=Outage.REFUSES)))

    assert engine.taken[0][2] == newest


@pytest.mark.parametrize("progress", [MemoryProgress(), gone_back()], ids=["the first start", "a start at the rows"])
def test_a_catalog_that_began_without_state_is_suspected_once_its_rows_are_gone(
    tmp_path: Path, environ: Mapping[str, str], progress: MemoryProgress
) -> None:
    settings = JobSettings(checkpoint_dir=tmp_path)
    start.submit(Engine(), CATALOG, environ, Servers(Broker(), progress))

    # No check came between the first rows and the replacement of their database.
    place = ("instance-stored", 0)
    replaced = Servers(Broker(offsets={CATALOG.name: {place: 9}}), MemoryProgress())
    assert suspicion(None, settings, replaced, 5.0) == Suspicion({place: 0}, 5.0)


def test_a_catalog_that_continues_from_the_state_of_an_earlier_release_is_not_suspected(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    write(folder(CATALOG, tmp_path), "a", 1, 100)
    servers = Servers(Broker(offsets={CATALOG.name: {("instance-stored", 0): 9}}), MemoryProgress())
    start.submit(Engine(), CATALOG, environ, servers)

    assert suspicion(None, JobSettings(checkpoint_dir=tmp_path), servers, 5.0) is None
