"""The state that a submitted job continues from, on any cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs import CATALOG, STUDY, Job
from pipelines.launch import start
from pipelines.launch.checkpoints import OtherState, folder_of
from pipelines.launch.start import NotSubmitted, RunningJob
from schemas.settings.jobs import JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings
from tests.unit.pipelines.launch.test_checkpoints import write


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

    assert start.submit(engine, STUDY, environ) == RunningJob(STUDY, "study-id")
    sections = (
        BrokerSettings(),
        StudySettings(),
        JobSettings(checkpoint_dir=Path(environ["FLUORO_JOB_CHECKPOINT_DIR"])),
    )
    assert engine.taken == [("study", sections, None)]


def test_a_job_continues_from_its_newest_checkpoint(tmp_path: Path, environ: Mapping[str, str]) -> None:
    older = write(folder(STUDY, tmp_path), "a", 1, 100)
    newest = write(folder(STUDY, tmp_path), "b", 1, 200)
    engine = Engine()

    assert start.submit(engine, STUDY, environ).older == (older,)
    assert engine.taken[0][2] == newest


def test_a_job_whose_newest_checkpoint_cannot_be_read_continues_from_the_one_before(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    older = write(folder(STUDY, tmp_path), "a", 1, 100)
    engine = Engine(unreadable=(write(folder(STUDY, tmp_path), "b", 1, 200),))

    start.submit(engine, STUDY, environ)
    assert engine.taken[0][2] == older


def test_a_job_whose_checkpoints_are_all_unreadable_is_not_started(tmp_path: Path, environ: Mapping[str, str]) -> None:
    engine = Engine(unreadable=(write(folder(STUDY, tmp_path), "a", 1, 100),))

    with pytest.raises(NotSubmitted):
        start.submit(engine, STUDY, environ)
    assert engine.taken == []


def test_a_job_is_refused_when_its_state_has_other_shards(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(folder(CATALOG, tmp_path, shards=8), "a", 1, 100)
    engine = Engine()

    with pytest.raises(OtherState, match="process-8"):
        start.submit(engine, CATALOG, environ)
    assert engine.taken == []


def test_a_marked_job_starts_without_state(tmp_path: Path, environ: Mapping[str, str]) -> None:
    write(folder(STUDY, tmp_path), "a", 1, 100)
    (tmp_path / "study.begins-again").touch()
    engine = Engine()

    start.submit(engine, STUDY, environ)
    assert engine.taken[0][2] is None
