"""The checkpoints that a job left: which one it goes on from, and which nobody needs any more.

Flink writes `<folder of job, mode and shards>/<run>/chk-<n>/_metadata`, the last of it when the checkpoint is complete; a run
that ends leaves its last ones, and the next begins another folder.
"""

import shutil
from pathlib import Path

KEPT_RUNS = 2


class OtherState(RuntimeError):
    """The job's state was written in another mode or number of shards: restoring it would silently give none, or part."""


def complete(folder: Path) -> list[Path]:
    """List a job's complete checkpoints, newest first; folder is where it keeps them now. Raises OtherState."""
    here = _complete(folder)
    others = [one for one in _siblings(folder) if _complete(one)]
    if others and not here:
        raise OtherState(
            f"{folder.parent.name} ran as {others[0].name} and is now to run as {folder.name} (mode, FLUORO_JOB_SHARDS), "
            f"which cannot read that state: run it as it was written, or, while nothing is being received, remove "
            f"{others[0]} and let it read everything again"
        )
    return here


def set_aside(folder: Path) -> None:
    """Put a job's state where no start finds it, in place of what was put there before."""
    aside = folder.with_name(f"{folder.name}.lost")
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)


def remove_old(folder: Path, since: float) -> list[Path]:
    """Remove all runs but the last two, once one that began at `since` or later has a complete checkpoint."""
    done = _complete(folder)
    if not done or _written(done[0]) < since:
        return []
    runs = sorted((one for one in folder.iterdir() if one.is_dir()), key=_last_written, reverse=True)
    for old in runs[KEPT_RUNS:]:
        shutil.rmtree(old, ignore_errors=True)
    return runs[KEPT_RUNS:]


def _complete(folder: Path) -> list[Path]:
    found = [metadata.parent for metadata in folder.glob("*/chk-*/_metadata") if metadata.stat().st_size]
    return sorted(found, key=_written, reverse=True)


def _written(checkpoint: Path) -> float:
    return (checkpoint / "_metadata").stat().st_mtime


def _last_written(run: Path) -> float:
    return max((metadata.stat().st_mtime for metadata in run.glob("chk-*/_metadata")), default=0.0)


def _siblings(folder: Path) -> list[Path]:
    if not folder.parent.is_dir():
        return []
    return [one for one in folder.parent.iterdir() if one != folder and one.suffix != ".lost"]
