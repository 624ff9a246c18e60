"""The jobs that have stopped for good, each a file beside the checkpoints, so that no launcher starts them again.

A job stops for good when a restart would fail in the same way, or would hide a fault. Other jobs go on. The file stays
until an operator resumes the job (`python -m deploy.commands jobs resume JOB`); the job then goes on from its last
checkpoint, and reads again what it had read since.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from operators.stream.newer_release import UNKNOWN_SCHEMA, UNKNOWN_STATE
from operators.stream.rejections import TOO_MANY_REJECTED
from operators.stream.step import Stop
from pipelines.jobs import JOBS
from schemas.codec import is_there_now
from schemas.settings.jobs import JobSettings
from schemas.topics import RECORD_REJECTED

RESUME = "python -m deploy.commands jobs resume {job}"
# What an operator does, by the reason of the stop.
ADVICE: Mapping[str, str] = {
    TOO_MANY_REJECTED: (
        f"read the rejected records in the topic {RECORD_REJECTED.name}; mend their sender or this release, or raise "
        f"FLUORO_JOB_REJECTED_IN_A_ROW and FLUORO_JOB_REJECTED_SHARE; then run: {RESUME}"
    ),
    UNKNOWN_SCHEMA: (
        "upgrade the jobs to the release of the gateways; or put the schema's file, from that release, into schemas/avro: the "
        "job then goes on within seconds, without what is new in these events"
    ),
    UNKNOWN_STATE: "start the release that wrote the job's state, or a newer one; the job goes on at that start",
}
ANY_REASON = f"mend the cause; then run: {RESUME}"
# The reason of a stop whose file was damaged.
UNKNOWN = "unknown"
# A start may be that of another release.
TRIED_AGAIN_AT_START = (UNKNOWN_SCHEMA, UNKNOWN_STATE)


@dataclass(frozen=True)
class StoppedJob:
    """A job that has stopped for good, and since when."""

    name: str
    stop: Stop
    since: datetime

    @property
    def advice(self) -> str:
        """Return what an operator does to let the job go on."""
        return ADVICE.get(self.stop.reason, ANY_REASON).format(job=self.name)


def write(stopped: StoppedJob, settings: JobSettings) -> None:
    """Write down that a job has stopped for good."""
    path = _path(stopped.name, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"stop": str(stopped.stop), "since": stopped.since.isoformat()}))
    partial.rename(path)


def stopped_jobs(settings: JobSettings) -> dict[str, StoppedJob]:
    """Return the jobs that have stopped for good, by name."""
    found = (_read(job.name, settings) for job in JOBS)
    return {stopped.name: stopped for stopped in found if stopped is not None}


def resume(name: str, settings: JobSettings) -> bool:
    """Let a job go on: a launcher that runs starts it within seconds. False if the job was not stopped."""
    try:
        _path(name, settings).unlink()
    except FileNotFoundError:
        return False
    return True


def resume_at_start(settings: JobSettings) -> None:
    """Let the jobs go on whose stop another release may mend."""
    for stopped in stopped_jobs(settings).values():
        if stopped.stop.reason in TRIED_AGAIN_AT_START:
            resume(stopped.name, settings)


def resume_at_schema(settings: JobSettings) -> list[str]:
    """Let the jobs go on that lacked a schema which is there by now; return their names."""
    lacked = [one for one in stopped_jobs(settings).values() if one.stop.reason == UNKNOWN_SCHEMA]
    return [one.name for one in lacked if is_there_now(one.stop.why) and resume(one.name, settings)]


def _read(name: str, settings: JobSettings) -> StoppedJob | None:
    """Return a job that has stopped; one whose file is damaged has stopped too, without a known reason."""
    path = _path(name, settings)
    try:
        values = json.loads(path.read_bytes())
        return StoppedJob(name, Stop.of(str(values["stop"])), datetime.fromisoformat(values["since"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return StoppedJob(
            name, Stop(UNKNOWN, f"{path} cannot be read"), datetime.fromtimestamp(path.stat().st_mtime, UTC)
        )


def _path(name: str, settings: JobSettings) -> Path:
    return settings.checkpoint_dir / f"{name}.stopped"
