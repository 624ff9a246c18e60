"""The checkpoints of earlier runs of a job: finding the checkpoint to continue from, and removing old checkpoints.

Flink writes `<folder of job, shards and mode>/<run>/chk-<n>/`, with the file `_metadata` last, when the checkpoint is
complete. A run that ends leaves its last checkpoints, and the next run begins another folder.
"""

import re
import shutil
from pathlib import Path

from pipelines.jobs import Job
from schemas.settings.jobs import JobSettings

KEPT_RUNS = 2
ASIDE = ".lost"
# The folder of a job with shards: their number, and the mode. Releases that kept records in the state wrote `process-1`.
SHARDS = re.compile(r"shards-(\d+)-(?:thread|process)|process-(\d+)")
RESHARD = "python -m deploy.commands jobs reshard"


class OtherState(RuntimeError):
    """The job's state was written in another mode or with other shards, so this run would find none or part of it."""


def folder_of(job: Job, settings: JobSettings) -> Path:
    """Return the folder of a job's checkpoints: one for each mode and, of a job with shards, for each number of them.

    State of the other mode cannot be read, and neither can a shard's in a job that divides records otherwise.
    """
    mode = job.mode(settings)
    kind = f"shards-{settings.shards}-{mode}" if job.has_shards else mode
    return settings.checkpoint_dir.absolute() / job.name / kind


def make_root(settings: JobSettings) -> None:
    """Make the folder of all checkpoints, unless it is there. Raises OSError when it can be neither made nor read."""
    root = settings.checkpoint_dir.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        next(root.iterdir(), None)
    except OSError as error:
        raise OSError(error.errno, f"FLUORO_JOB_CHECKPOINT_DIR {root} cannot be used: {error.strerror}") from error


def complete(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a job's present folder, newest first.

    Raises OtherState when there are complete checkpoints of another number of shards only, or of another mode of a job
    without shards. Those of another form are passed over: has_other_form() tells.
    """
    here = _complete(folder)
    others = [sibling for sibling in _siblings(folder) if _complete(sibling) and not _has_same_shards(folder, sibling)]
    if others and not here and not has_other_form(folder):
        raise OtherState(_refusal(folder, others[0]))
    return here


def has_other_form(folder: Path) -> bool:
    """True if the only complete checkpoints for this number of shards are of the other mode, or of an earlier release.

    The job cannot read them, and need not: its progress lies in the catalog's rows.
    """
    same = [sibling for sibling in _siblings(folder) if _has_same_shards(folder, sibling)]
    return not _complete(folder) and any(map(_complete, same))


def _has_same_shards(folder: Path, sibling: Path) -> bool:
    return _shards(folder) is not None and _shards(folder) == _shards(sibling)


def _shards(folder: Path) -> int | None:
    """Return the number of shards that a folder is of; None for a job without shards."""
    found = SHARDS.fullmatch(folder.name)
    return int(found[1] or found[2]) if found else None


def _refusal(folder: Path, other: Path) -> str:
    """Return why state of another folder refuses a job, and what to do."""
    number, before = _shards(folder), _shards(other)
    if number and before:
        return (
            f"FLUORO_JOB_SHARDS: the state of job {folder.parent.name} has {before} shards, not {number}: set {before}; "
            f"or, while the job does not run, change it: {RESHARD} {number}"
        )
    return (
        f"job {folder.parent.name} ran as {other.name} and would now run as {folder.name}, which cannot read that state: "
        f"run the release that wrote it; or, while nothing is being received, remove {other} and start the job, which "
        f"then reads everything again"
    )


def set_aside(folder: Path) -> None:
    """Rename a job's folders of checkpoints to names that no start looks for; folders set aside earlier are removed.

    The folders of its other modes and numbers of shards are renamed too, because a start in one of these would find
    them.
    """
    for state in (folder, *_siblings(folder)):
        _set_aside(state)


def set_others_aside(folder: Path) -> None:
    """Rename the folders of a job's other modes and numbers of shards to names that no start looks for."""
    for state in _siblings(folder):
        _set_aside(state)


def remove_old(folder: Path, since: float) -> list[Path]:
    """Remove all runs but the last two, if there is a complete checkpoint that was written at `since` or later.

    Returns the folders of the removed runs.
    """
    done = _complete(folder)
    if not done or _written_at(done[0]) < since:
        return []
    runs = sorted((run for run in folder.iterdir() if run.is_dir()), key=_last_written_at, reverse=True)
    for old in runs[KEPT_RUNS:]:
        shutil.rmtree(old, ignore_errors=True)
    return runs[KEPT_RUNS:]


def _set_aside(state: Path) -> None:
    aside = state.with_name(f"{state.name}{ASIDE}")
    if state.exists():
        shutil.rmtree(aside, ignore_errors=True)
        state.rename(aside)


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
    return [sibling for sibling in folder.parent.iterdir() if sibling != folder and sibling.suffix != ASIDE]
