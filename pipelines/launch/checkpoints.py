"""The checkpoints that a job has left: which one it goes on from, and which ones are no longer needed.

Flink writes `<folder of job, mode and shards>/<run>/chk-<n>/_metadata`, the metadata last, when the checkpoint is
complete. A run that ends leaves its last checkpoints, and the next run begins another folder.
"""

import shutil
from pathlib import Path

from pipelines.jobs import Job
from schemas.settings.jobs import JobSettings

KEPT_RUNS = 2
LOST = ".lost"


class OtherState(RuntimeError):
    """The job's state was written in another mode or number of shards: this job would silently find none, or a part."""


def folder_of(job: Job, settings: JobSettings) -> Path:
    """Return the folder of a job's checkpoints: one for each mode and, in process mode, for each number of shards.

    State of the other mode is not read, and what a shard has gathered would wait for ever where there is no such shard.
    """
    kind = {"thread": "thread", "process": f"process-{settings.shards}"}[job.mode]
    return settings.checkpoint_dir.absolute() / job.name / kind


def complete(folder: Path) -> list[Path]:
    """List a job's complete checkpoints, newest first; `folder` is where the job keeps them now. Raises OtherState."""
    here = _complete(folder)
    others = [one for one in _siblings(folder) if _complete(one)]
    if others and not here:
        raise OtherState(
            f"job {folder.parent.name} ran as {others[0].name} and is now to run as {folder.name} (mode, "
            f"FLUORO_JOB_SHARDS), which cannot read that state: run it as before, or, while nothing is being received, "
            f"remove {others[0]} and let it read everything again"
        )
    return here


def set_aside(folder: Path) -> None:
    """Move a job's state to where no start looks for it, in place of what was moved there before.

    So is its state of other modes and numbers of shards: a start in one of these would find it.
    """
    for one in (folder, *_siblings(folder)):
        aside = one.with_name(f"{one.name}{LOST}")
        if one.exists():
            shutil.rmtree(aside, ignore_errors=True)
            one.rename(aside)


def remove_old(folder: Path, since: float) -> list[Path]:
    """Remove all runs but the last two, once one that began at `since` or later has a complete checkpoint.

    Returns the folders of the removed runs.
    """
    done = _complete(folder)
    if not done or _written_at(done[0]) < since:
        return []
    runs = sorted((one for one in folder.iterdir() if one.is_dir()), key=_last_written_at, reverse=True)
    for old in runs[KEPT_RUNS:]:
        shutil.rmtree(old, ignore_errors=True)
    return runs[KEPT_RUNS:]


def _complete(folder: Path) -> list[Path]:
    found = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata") if metadata.stat().st_size]
    return sorted(found, key=_written_at, reverse=True)


def _written_at(checkpoint: Path) -> float:
    return (checkpoint / "_metadata").stat().st_mtime


def _last_written_at(run: Path) -> float:
    return max((metadata.stat().st_mtime for metadata in run.glob("chk-*/_metadata")), default=0.0)


def _siblings(folder: Path) -> list[Path]:
    if not folder.parent.is_dir():
        return []
    return [one for one in folder.parent.iterdir() if one != folder and one.suffix != LOST]
