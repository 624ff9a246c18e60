"""All jobs on this machine, in one JVM: `python -m deploy.flink.cluster`.

The JVM holds a Flink cluster with its web page. Each job is submitted on its own, goes on from its newest complete
checkpoint and restarts by itself. A job that stops for good is left out, until an operator resumes it; the others go
on. A line is printed when every job runs. The process ends with status 0 on TERM or Ctrl-C, with status 2 and the reason
when its settings, or the state that lies there, are of no use with each other, and with status 1 and the reason when a
job did not start or cannot go on. Settings: FLUORO_*; FLINK_HOME and JAVA_HOME for another Flink and Java than those that
`make install` has put into this clone.
"""

import os
import signal
import subprocess  # noqa: TC003 - plain imports everywhere
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from deploy.flink import jvm, metrics, stopped
from deploy.flink.checks import RegularChecks
from deploy.flink.folder import ClusterFolder, choose
from deploy.flink.jvm import NotStarted
from deploy.flink.minicluster import MiniCluster
from deploy.flink.rest import JobState, PatientRest, causes
from deploy.flink.stopped import StoppedJob
from deploy.flink.workers import WorkerWatch, python_workers
from deploy.install import layout
from operators.catalog.progress import WENT_BACK
from operators.connectors.kafka.positions import Positions
from operators.connectors.postgres.progress import PostgresProgress
from operators.errors import Unavailable
from pipelines.jobs import CATALOG, JOBS, Job
from pipelines.launch import checkpoints, expiry, losses, start
from pipelines.launch.checkpoints import OtherState, folder_of
from pipelines.launch.resharding import check_parallelism, check_shards
from pipelines.launch.rows import Servers
from pipelines.launch.start import NotSubmitted, RunningJob
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.telemetry import set_up_logs

READY_S = 110.0
POLL_S = 0.2
# Flink's answers about the jobs cost it and the launcher more than all else that an idle cluster does; that its process
# lives costs nothing.
WATCH_S = 5.0
ALIVE_S = 1.0
CLEAN_S = 60.0
CLOSE_S = 4.0
# Words in Flink's errors when a checkpoint's state cannot be read; the checkpoint before may be good.
UNREADABLE = ("JobInitializationException", "creating StreamOperatorStateContext", "restore operator state")

log = structlog.get_logger()


class NotHealthy(RuntimeError):
    """A job did not start, or cannot go on."""


@dataclass(frozen=True)
class Launch:
    """One run of the cluster: its jobs, folder and settings, the event that asks it to stop, and who knows its progress."""

    jobs: tuple[Job, ...]
    folder: ClusterFolder
    settings: JobSettings
    environ: Mapping[str, str]
    stopping: threading.Event
    servers: Servers

    @property
    def slots(self) -> int:
        """Return the slots that all jobs need: for each job its parallelism."""
        return len(self.jobs) * self.settings.parallelism


def servers_of(environ: Mapping[str, str]) -> Servers:
    """Return the servers that these settings name. Raises SettingsError."""
    return Servers(Positions(load(BrokerSettings, environ)), PostgresProgress(load(CatalogSettings, environ)))


def run(launch: Launch) -> None:
    """Run the jobs until `stopping` is set. Raises the errors that main() catches."""
    # Before a JVM is started, and before anybody can ask for metrics: a launcher that cannot start is down.
    checkpoints.make_root(launch.settings)
    configuration = launch.folder.configuration(launch.settings, launch.slots)
    launch.folder.write(configuration, launch.environ)
    os.environ.update(launch.folder.environment(launch.environ))
    for job in launch.jobs:
        check_parallelism(job, launch.settings)
    metrics.serve(launch.settings)
    machine = jvm.start(os.environ)
    try:
        losses.guard(launch.servers.broker, launch.settings)
        for job in launch.jobs:
            check_shards(job, launch.settings, launch.servers.progress)
        expiry.report_expired(launch.servers, launch.settings)
        cluster = MiniCluster(configuration, launch.slots)
        try:
            serve(launch, cluster, machine)
        finally:
            run_at_most(CLOSE_S, cluster.close)
    finally:
        jvm.stop(machine)


def serve(launch: Launch, cluster: MiniCluster, machine: "subprocess.Popen[bytes]") -> None:
    """Submit the jobs, wait until they run, then watch them."""
    began = time.time()
    stopped.resume_at_start(launch.settings)
    metrics.report(launch.jobs, (), stopped.stopped_jobs(launch.settings))
    for one in stopped.stopped_jobs(launch.settings).values():
        log_stopped(one)
    running = until_healthy(launch, cluster, with_resumed(launch, cluster, []), machine)
    if not launch.stopping.is_set():
        names = ", ".join(submitted.job.name for submitted in running)
        print(f"jobs run: {names}; http://127.0.0.1:{launch.settings.rest_port}", flush=True)
        watch(launch, cluster, running, machine, began)


def until_healthy(
    launch: Launch, cluster: MiniCluster, running: list[RunningJob], machine: "subprocess.Popen[bytes]"
) -> list[RunningJob]:
    """Wait until every job runs; a job whose checkpoint cannot be read goes on from the one before.

    Raises NotHealthy.
    """
    rest, deadline = PatientRest(launch.settings.rest_port), time.monotonic() + READY_S
    while waited(launch.stopping, machine, POLL_S):
        if (states := rest.jobs(submitted.job_id for submitted in running)) is None:
            continue
        pairs = without_stopped(launch, list(zip(running, states, strict=True)))
        running = [submitted for submitted, _ in pairs]
        if all(state.is_running for _, state in pairs):
            break
        if time.monotonic() > deadline:
            raise NotHealthy("; ".join(described(state) for _, state in pairs if not state.is_running))
        running = [recovered(launch, cluster, with_failure_logged(job, state), state) for job, state in pairs]
    return running


def recovered(launch: Launch, cluster: MiniCluster, running: RunningJob, state: JobState) -> RunningJob:
    """Return the job; a job that could not read its checkpoint is submitted again from the checkpoint before.

    Raises NotHealthy when the job has ended for any other reason.
    """
    if not (running.older and any(words in state.failure for words in UNREADABLE)):
        return still_going(running, state)
    log.error("checkpoint_unreadable", job=running.job.name, job_id=running.job_id, cause=causes(state.failure))
    if not state.has_ended:
        cluster.cancel(running.job_id)
    return start.submit_from(cluster, running.job, launch.environ, running.older, running.origin)


def with_resumed(launch: Launch, cluster: MiniCluster, running: list[RunningJob]) -> list[RunningJob]:
    """Return the running jobs, with those submitted that do not run and have not stopped for good."""
    absent = {submitted.job.name for submitted in running} | stopped.stopped_jobs(launch.settings).keys()
    wanted = [job for job in launch.jobs if job.name not in absent]
    return running + [start.submit(cluster, job, launch.environ, launch.servers) for job in wanted]


def without_stopped(launch: Launch, pairs: list[tuple[RunningJob, JobState]]) -> list[tuple[RunningJob, JobState]]:
    """Return the jobs with their states, without those that have stopped for good; these are written down and logged.

    A job whose database went back is not written down: it is submitted again, and begins at the offsets of its rows.
    The metrics say the same of each job.
    """
    for submitted, state in pairs:
        if state.stop is not None and state.stop.reason != WENT_BACK:
            one = StoppedJob(submitted.job.name, state.stop, datetime.fromtimestamp(state.failed_at_ms / 1000, UTC))
            stopped.write(one, launch.settings)
            log_stopped(one)
    metrics.report(launch.jobs, (state for _, state in pairs), stopped.stopped_jobs(launch.settings))
    return [(submitted, state) for submitted, state in pairs if state.stop is None]


def log_stopped(one: StoppedJob) -> None:
    """Log that a job has stopped for good, why, and what to do."""
    log.error("job_stopped", job=one.name, reason=one.stop.reason, why=one.stop.why, do=one.advice)


def watch(
    launch: Launch,
    cluster: MiniCluster,
    running: list[RunningJob],
    machine: "subprocess.Popen[bytes]",
    began: float,
) -> None:
    """Log restarts, leave out jobs that stop, submit those that are resumed or lost a worker, and remove old checkpoints.

    Ends once `stopping` is set.

    Raises NotHealthy when a job or the JVM has ended.
    """
    rest, cleaned = PatientRest(launch.settings.rest_port), 0.0
    checks, workers = RegularChecks(launch.settings, launch.servers), WorkerWatch()
    while waited(launch.stopping, machine, WATCH_S):
        if (states := rest.jobs(submitted.job_id for submitted in running)) is None:
            continue
        pairs = without_stopped(launch, list(zip(running, states, strict=True)))
        running = [still_going(with_failure_logged(job, state), state) for job, state in pairs]
        if is_worker_lost(launch, pairs, workers, machine.pid):
            running = with_new_workers(launch, cluster, running, machine)
        for name in stopped.resume_at_schema(launch.settings):
            log.info("job_has_schema", job=name)
        running = with_resumed(launch, cluster, running)
        if checks.have_found_lost_rows([state for _, state in pairs]):
            running = begun_at_rows(launch, cluster, running)
        if time.monotonic() - cleaned > CLEAN_S:
            cleaned = time.monotonic()
            remove_old(launch, began)


def waited(stopping: threading.Event, machine: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait; False as soon as `stopping` is set. Raises NotHealthy when the JVM has ended."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        if stopping.wait(min(ALIVE_S, left_s)):
            return False
        if machine.poll() is not None:
            raise NotHealthy(f"the JVM of the jobs ended with status {machine.returncode}")
    return True


def begun_at_rows(launch: Launch, cluster: MiniCluster, running: list[RunningJob]) -> list[RunningJob]:
    """Cancel the catalog job, whose database went back, and submit it again at the offsets of its rows."""
    for submitted in running:
        if submitted.job == CATALOG:
            cluster.cancel(submitted.job_id)
    others = [submitted for submitted in running if submitted.job != CATALOG]
    return [*others, start.begin_at_rows(cluster, CATALOG, launch.environ, launch.servers)]


def is_worker_lost(
    launch: Launch, pairs: list[tuple[RunningJob, JobState]], workers: WorkerWatch, machine_pid: int
) -> bool:
    """True if a worker of a job in process mode has died, and Flink has not noticed; such a job has one in each slot."""
    states = [state for submitted, state in pairs if submitted.job.mode(launch.settings) == "process"]
    if not states:
        return False
    all_run = all(state.is_running for state in states)
    return workers.is_lost(len(python_workers(machine_pid)), len(states) * launch.settings.parallelism, all_run=all_run)


def with_new_workers(
    launch: Launch, cluster: MiniCluster, running: list[RunningJob], machine: "subprocess.Popen[bytes]"
) -> list[RunningJob]:
    """Return the jobs once those in process mode run again from their newest checkpoints, with new workers."""
    return until_healthy(launch, cluster, [submitted_again(launch, cluster, one) for one in running], machine)


def submitted_again(launch: Launch, cluster: MiniCluster, running: RunningJob) -> RunningJob:
    """Return the job; one in process mode is cancelled and submitted again."""
    if running.job.mode(launch.settings) != "process":
        return running
    log.error("python_worker_lost", job=running.job.name, job_id=running.job_id)
    cluster.cancel(running.job_id)
    return start.submit(cluster, running.job, launch.environ, launch.servers)


def still_going(running: RunningJob, state: JobState) -> RunningJob:
    """Return the job unchanged; raises NotHealthy when it has ended."""
    if state.has_ended:
        raise NotHealthy(described(state))
    return running


def with_failure_logged(running: RunningJob, state: JobState) -> RunningJob:
    """Log a job's last failure, unless it was logged before; return the job with that failure's time."""
    if state.failed_at_ms <= running.failure_ms:
        return running
    log.error("job_failed", job=running.job.name, state=state.state, cause=causes(state.failure))
    return replace(running, failure_ms=state.failed_at_ms)


def remove_old(launch: Launch, began: float) -> None:
    """Remove the checkpoints of earlier runs that no start needs any more."""
    for job in launch.jobs:
        for removed in checkpoints.remove_old(folder_of(job, launch.settings), began):
            log.info("checkpoints_removed", job=job.name, run=removed.name)


def described(state: JobState) -> str:
    """Return a job's state and the cause of its last failure."""
    return f"job {state.name} is {state.state}: {causes(state.failure) or 'no failure is known'}"


def run_at_most(seconds: float, action: Callable[[], None]) -> None:
    """Run an action and wait for it, but not longer than `seconds`: it must not delay the end of the process."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)


def main(jobs: tuple[Job, ...]) -> int:
    """Run the jobs with the settings of the environment; return the exit status."""
    set_up_logs("jobs")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    environ = layout.here().flink_environment() | os.environ
    try:
        run(Launch(jobs, choose(environ), load(JobSettings, environ), environ, stopping, servers_of(environ)))
    except (SettingsError, NotHealthy, NotStarted, NotSubmitted, OtherState, Unavailable, OSError, KeyError) as error:
        log.error("jobs_stopped", error=type(error).__name__, reason=str(error))  # noqa: TRY400 - a line, not a trace
        return 0 if stopping.is_set() else status_of(error)
    return 0


def status_of(error: Exception) -> int:
    """Return the exit status for an error: 2 when another start with the same settings would meet it too."""
    return 2 if isinstance(error, SettingsError | OtherState) else 1


if __name__ == "__main__":
    status = main(JOBS)
    sys.stdout.flush()
    # Not sys.exit: py4j's finalizers would ask the JVM, which is gone, to release each object.
    os._exit(status)
