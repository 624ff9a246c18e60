"""Starting a job from a script, under `flink run` or on Kubernetes, with the same guards as on the local cluster.

The script knows the settings, the broker and the folder of checkpoints. It refuses to start the job (status 1, with the
reason) if the state was written in another mode or with another number of shards, or if there are fewer shards than the
parallelism, which is that of `flink run -p`, and without it FLUORO_JOB_PARALLELISM. It lets the job begin again without
state if the broker has lost records. Otherwise the job continues from the newest checkpoint whose metadata can be read,
unless `flink run -s` names another state. A job that was stopped with a savepoint has left no checkpoint.

The script cannot find out:
- if the same job still runs elsewhere: stop that job first;
- checkpoints in a folder that this machine cannot read: FLUORO_JOB_CHECKPOINT_DIR must be on a shared file system;
- the mode and the shards of a savepoint named with `-s`: only the job's own checkpoints and rows are checked;
- failures after the submission, such as a checkpoint whose metadata can be read but whose state cannot: the job then
  restarts again and again, and its page in Flink's web interface shows the error;
- that a job has stopped for good, after too many rejected records or at an event of a newer release: Flink shows it as
  FAILED with the reason, and starting the script again resumes it;
- that a running job's state includes records that the broker has lost: a mark takes effect at the job's next start;
- that the catalog's database was replaced by an earlier state of itself, as long as no record comes: the flush of the next
  record stops the job, and its next start, without `-s`, begins at the offsets of the rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration, JobClient

from operators.connectors.kafka.positions import Positions
from operators.connectors.postgres.progress import PostgresProgress
from operators.errors import Unavailable
from operators.stream.origin import Origin
from pipelines.engines.flink import RECOVERY, causes, configuration, environment
from pipelines.jobs import Job
from pipelines.launch import checkpoints, expiry, losses, start
from pipelines.launch.checkpoints import OtherState
from pipelines.launch.losses import StateLost
from pipelines.launch.resharding import check_parallelism, check_shards
from pipelines.launch.rows import Servers, has_gone_back
from pipelines.launch.start import BEGINS_AT_ROWS, Engine, NotSubmitted, RunningJob
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.telemetry import set_up_logs

ATTACHED = "execution.attached"
PARALLELISM = "parallelism.default"
LOST_RECORDS = "the broker lost records that are in the jobs' state"
REFUSALS = (SettingsError, OtherState, StateLost, NotSubmitted, Unavailable, OSError)

log = structlog.get_logger()


class FlinkRun:
    """The Flink cluster that the script was started for."""

    def __init__(self) -> None:
        self._given = Configuration(
            j_configuration=environment({})._j_stream_execution_environment.getConfiguration()  # noqa: SLF001
        )
        self._client: JobClient | None = None

    @property
    def named_state(self) -> str | None:
        """Return the path named with `flink run -s`; None without `-s`."""
        return self._given.get_string(RECOVERY, "") or None

    @property
    def parallelism(self) -> str | None:
        """Return the parallelism of `flink run -p`, else that of the cluster's configuration; None without either."""
        return self._given.get_string(PARALLELISM, "") or None

    def submit(self, job: Job, settings: JobSettings, sections: tuple[Any, ...], checkpoint: Path | None) -> str:
        """Submit a job to the cluster; return the job's id. Raises NotSubmitted."""
        env = environment(configuration(job, settings, checkpoint))
        job.build(env, *sections)
        try:
            self._client = env.execute_async(job.name)
        except Py4JJavaError as error:
            raise NotSubmitted(causes(error.java_exception)) from None
        return str(self._client.get_job_id())

    def wait(self) -> None:
        """Wait for the end of the submitted job, unless `flink run` was told to detach."""
        if self._client is not None and self._given.get_boolean(ATTACHED, default_value=False):
            self._client.get_job_execution_result().result()


def main(job: Job, environ: Mapping[str, str]) -> int:
    """Start a job on the cluster of `flink run`; return the exit status."""
    set_up_logs("jobs")
    try:
        engine = FlinkRun()
        environ = with_parallelism(environ, engine.parallelism)
        settings = load(JobSettings, environ)
        check_parallelism(job, settings)
        servers = Servers(Positions(load(BrokerSettings, environ)), PostgresProgress(load(CatalogSettings, environ)))
        check_state(job, servers, settings)
        submit(engine, job, environ, engine.named_state, servers)
    except REFUSALS as error:
        log.error("job_refused", job=job.name, error=type(error).__name__, reason=str(error))  # noqa: TRY400
        return 1
    engine.wait()
    return 0


def with_parallelism(environ: Mapping[str, str], parallelism: str | None) -> Mapping[str, str]:
    """Return the settings with the parallelism that Flink was told, if any, in place of the environment's."""
    return environ if parallelism is None else {**environ, "FLUORO_JOB_PARALLELISM": parallelism}


def check_state(job: Job, servers: Servers, settings: JobSettings) -> None:
    """Mark the jobs if the broker lost records; raise OtherState if a job cannot read its state, and needs it.

    Says which records expired before a job read them.
    """
    losses.guard(servers.broker, settings)
    expiry.report_expired(servers, settings)
    if losses.is_marked(job, settings) or has_gone_back(job, settings, servers.progress):
        return
    check_shards(job, settings, servers.progress)
    checkpoints.complete(checkpoints.folder_of(job, settings))


def submit(
    engine: Engine, job: Job, environ: Mapping[str, str], named_state: str | None, servers: Servers
) -> RunningJob:
    """Submit a job that continues from the named state, or without a name as start.submit() does.

    Raises StateLost when a state was named but the job must begin again without state, and what start.submit() raises.
    """
    if named_state is None:
        return start.submit(engine, job, environ, servers)
    settings = load(JobSettings, environ)
    lost = LOST_RECORDS if losses.is_marked(job, settings) else None
    if lost or has_gone_back(job, settings, servers.progress):
        raise StateLost(
            f"{lost or BEGINS_AT_ROWS}, so job {job.name} cannot continue from {named_state}: start the job without -s"
        )
    log.info("state_named", job=job.name, path=named_state)
    return start.submit_from(engine, job, environ, (), Origin(losses.topic_ids(settings)))
