"""The checkpoint that a job continues from, the state that refuses a job, and the checkpoints that are removed."""

import os
from pathlib import Path

import pytest

from pipelines.jobs import Job
from pipelines.launch import checkpoints
from pipelines.launch.checkpoints import OtherState, folder_of
from schemas.settings.jobs import JobSettings


def write(folder: Path, run: str, number: int, at: float, *, complete: bool = True) -> Path:
    """Write a checkpoint as Flink does, completed at the time `at`."""
    made = folder / run / f"chk-{number}"
    made.mkdir(parents=True)
    if complete:
        metadata = made / "_metadata"
        metadata.write_bytes(b"x")
        os.utime(metadata, (at, at))
    return made


def test_the_newest_complete_checkpoint_of_all_runs_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "thread"
    older = write(folder, "a", 9, 100)
    newest = write(folder, "b", 1, 200)
    write(folder, "b", 2, 300, complete=False)

    assert checkpoints.complete(folder) == [newest, older]


def test_a_job_that_never_ran_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.complete(tmp_path / "study" / "thread") == []


def test_a_folder_that_can_be_neither_made_nor_read_is_named(tmp_path: Path) -> None:
    settings = JobSettings(checkpoint_dir=tmp_path / "a" / "checkpoints")
    checkpoints.make_root(settings)
    checkpoints.make_root(settings)
    settings.checkpoint_dir.rmdir()
    settings.checkpoint_dir.touch()

    with pytest.raises(OSError, match=f"FLUORO_JOB_CHECKPOINT_DIR {settings.checkpoint_dir} cannot be used"):
        checkpoints.make_root(settings)


def test_state_of_another_mode_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "study" / "process", "a", 1, 100)

    with pytest.raises(OtherState):
        checkpoints.complete(tmp_path / "study" / "thread")


@pytest.mark.fault("F20", "the catalog job starts with other shards than its state has")
def test_state_of_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    job = Job("catalog", (), (), has_shards=True)
    write(folder_of(job, JobSettings(checkpoint_dir=tmp_path, shards=8)), "a", 1, 100)

    with pytest.raises(OtherState, match=r"has 8 shards, not 1: set 8; or, .*jobs reshard 1"):
        checkpoints.complete(folder_of(job, JobSettings(checkpoint_dir=tmp_path, shards=1)))


@pytest.mark.parametrize("name", ["shards-8-process", "process-8"], ids=["the other mode", "an earlier release"])
def test_state_of_another_form_is_passed_over_if_it_has_as_many_shards(tmp_path: Path, name: str) -> None:
    write(tmp_path / "catalog" / name, "a", 1, 100)
    as_many, fewer = (tmp_path / "catalog" / f"shards-{shards}-thread" for shards in (8, 1))

    assert (checkpoints.complete(as_many), checkpoints.has_other_form(as_many)) == ([], True)
    assert not checkpoints.has_other_form(fewer)
    with pytest.raises(OtherState, match="has 8 shards, not 1"):
        checkpoints.complete(fewer)
    kept = write(as_many, "b", 1, 50)
    assert (checkpoints.complete(as_many), checkpoints.has_other_form(as_many)) == ([kept], False)


def test_state_of_other_shards_set_aside_is_not_found(tmp_path: Path) -> None:
    job = Job("catalog", (), (), has_shards=True)
    present = folder_of(job, JobSettings(checkpoint_dir=tmp_path, shards=1))
    kept = write(present, "a", 1, 100)
    write(folder_of(job, JobSettings(checkpoint_dir=tmp_path, shards=8)), "a", 1, 100)
    checkpoints.set_others_aside(present)

    assert checkpoints.complete(present) == [kept]
    assert {folder.name for folder in present.parent.iterdir()} == {"shards-1-thread", "shards-8-thread.lost"}


def test_a_job_without_shards_has_one_folder_for_every_number_of_shards() -> None:
    job = Job("study", (), ())

    assert folder_of(job, JobSettings(shards=8)) == folder_of(job, JobSettings(shards=1))


def test_state_set_aside_is_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "thread"
    write(folder, "a", 1, 100)
    checkpoints.set_aside(folder)
    write(folder, "b", 1, 100)
    checkpoints.set_aside(folder)

    assert checkpoints.complete(folder) == []


def test_old_runs_are_removed_once_a_new_one_has_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "thread"
    for at, run in ((100, "a"), (200, "b"), (300, "c")):
        write(folder, run, 1, at)
    write(folder, "empty", 1, 0, complete=False)

    assert checkpoints.remove_old(folder, since=400) == []
    write(folder, "d", 1, 500)
    removed = checkpoints.remove_old(folder, since=400)

    assert {one.name for one in removed} == {"a", "b", "empty"}
    assert {one.name for one in folder.iterdir()} == {"c", "d"}
