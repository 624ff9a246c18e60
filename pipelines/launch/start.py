"""Starting a job on any cluster, from its newest checkpoint that can be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from operators.errors import Unavailable
from operators.stream.origin import Origin
from pipelines.jobs import CATALOG, Job
from pipelines.launch import checkpoints, losses, resharding
from pipelines.launch.rows import Servers, has_gone_back, note_rows, origin_at_rows
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load

REPLACED = "the catalog's database was replaced by an earlier state of itself"
OTHER_FORM = "its checkpoints are of the other mode, or of an earlier release: it begins at the offsets of its rows"
READS_AGAIN = (
    "there is no checkpoint, though the job has run before: it reads everything that the topics keep; a job that was stopped "
    "with a savepoint is started with that savepoint"
)
BEGINS_AT_ROWS = f"{REPLACED}, or its shards were changed"

log = structlog.get_logger()


class NotSubmitted(RuntimeError):
    """The cluster did not accept a job."""


class Engine(Protocol):
    """A cluster that runs jobs.

    `submit` builds the job's graph by `job.build(env, *sections)`; the first section is the origin of its records. It
    returns the job's id once the cluster has read the checkpoint's metadata and accepted the job. The job's tasks restore
    their state later, so an accepted job may still fail because of its checkpoint. `submit` raises NotSubmitted when the
    cluster does not accept the job. Then nothing runs, and `submit` is called again with the next older checkpoint, if
    there is one.
    """

    def submit(self, job: Job, settings: JobSettings, sections: tuple[Any, ...], checkpoint: Path | None) -> str:
        """Submit a job that continues from a checkpoint, or begins without state; return the job's id."""
        ...


@dataclass(frozen=True)
class RunningJob:
    """A submitted job: its id, the older checkpoints that it could continue from, its last logged failure (Unix ms)."""

    job: Job
    job_id: str
    older: tuple[Path, ...] = ()
    failure_ms: int = 0
    origin: Origin = field(default_factory=Origin)


def submit(engine: Engine, job: Job, environ: Mapping[str, str], servers: Servers) -> RunningJob:
    """Submit a job from its newest checkpoint that can be read, or without state if it must begin again.

    Raises OtherState, NotSubmitted, SettingsError, and Unavailable.
    """
    settings = load(JobSettings, environ)
    # What the first flush announces is repeated if the job is killed before its first checkpoint.
    announced = dict.fromkeys(range(settings.shards), 0) if losses.is_marked(job, settings) else {}
    losses.begin_again_if_marked(job, settings, servers.progress, servers.broker)
    leave_other_form(job, settings, servers)
    if has_gone_back(job, settings, servers.progress):
        return begin_at_rows(engine, job, environ, servers, BEGINS_AT_ROWS)
    found = checkpoints.complete(checkpoints.folder_of(job, settings))
    if job == CATALOG and not found:
        note_rows(settings)
    if not found and not announced and has_run(job, servers):
        log.warning("job_reads_again", job=job.name, reason=READS_AGAIN)
    return submit_from(engine, job, environ, tuple(found), Origin(losses.topic_ids(settings), announced=announced))


def has_run(job: Job, servers: Servers) -> bool:
    """True if the job's group has committed offsets; False if the broker does not answer."""
    try:
        return any(servers.broker.committed(job.name, servers.broker.extents(job.topics)).values())
    except Unavailable:
        return False


def leave_other_form(job: Job, settings: JobSettings, servers: Servers) -> None:
    """Have a job that cannot read its checkpoints, but lies in the rows, begin there. Raises Unavailable."""
    if checkpoints.has_other_form(checkpoints.folder_of(job, settings)):
        log.warning("state_left", job=job.name, reason=OTHER_FORM)
        resharding.leave_state(settings, servers)


def begin_at_rows(
    engine: Engine, job: Job, environ: Mapping[str, str], servers: Servers, reason: str = REPLACED
) -> RunningJob:
    """Submit a job without state, at the offsets of its rows, which are behind its state.

    The job must not run. Raises NotSubmitted, SettingsError, and Unavailable.
    """
    settings = load(JobSettings, environ)
    origin = origin_at_rows(job, settings, servers)
    log.error("job_begins_again", job=job.name, reason=reason)
    checkpoints.set_aside(checkpoints.folder_of(job, settings))
    note_rows(settings)
    submitted = submit_from(engine, job, environ, (), origin)
    servers.progress.note_begun(settings.shards)
    return submitted


def submit_from(
    engine: Engine, job: Job, environ: Mapping[str, str], found: tuple[Path, ...], origin: Origin
) -> RunningJob:
    """Submit a job that continues from the first of these checkpoints that can be read. Raises NotSubmitted."""
    newest, older = (found[0], found[1:]) if found else (None, ())
    sections = (origin, *(load(kind, environ) for kind in job.settings))
    try:
        job_id = engine.submit(job, load(JobSettings, environ), sections, newest)
    except NotSubmitted as error:
        if not older:
            raise
        log.error("checkpoint_unreadable", job=job.name, checkpoint=str(newest), cause=str(error))  # noqa: TRY400
        return submit_from(engine, job, environ, older, origin)
    log.info("job_submitted", job=job.name, job_id=job_id, checkpoint=str(newest and newest.name))
    return RunningJob(job, job_id, older, origin=origin)
