"""All jobs in one process: `python -m deploy.flink.cluster`.

One JVM holds a cluster with its web page; each job is submitted on its own, goes on from its newest complete
checkpoint and restarts by itself. Prints a line when every job runs; ends when it is told to (status 0), or when a
job never ran well or cannot go on (status 1, with the reason). Settings: FLUORO_*, FLINK_HOME, JAVA_HOME.
"""

import os
import signal
import subprocess  # noqa: TC003 - plain imports everywhere
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from deploy.flink import gateway
from deploy.flink.gateway import NotStarted
from deploy.flink.home import Home, home
from deploy.flink.minicluster import Cluster, NotSubmitted
from deploy.flink.rest import JobState, Rest, causes
from operators.connectors.kafka.positions import Positions
from operators.errors import Unavailable
from pipelines.engines.flink import Job, checkpoint_folder
from pipelines.launch import checkpoints, positions
from pipelines.launch.checkpoints import OtherState
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings
from schemas.telemetry import set_up_logs

READY_S = 110.0
POLL_S = 0.2
WATCH_S = 1.0
CLEAN_S = 60.0
CLOSE_S = 4.0
# What Flink says of a checkpoint that it cannot read: then the one before it may be good.
UNREADABLE = ("JobInitializationException", "creating StreamOperatorStateContext", "restore operator state")

log = structlog.get_logger()


class NotHealthy(RuntimeError):
    """A job never ran well, or cannot go on."""


@dataclass(frozen=True)
class Launch:
    """What a start goes by."""

    jobs: tuple[Job, ...]
    home: Home
    settings: JobSettings
    environ: Mapping[str, str]
    stopping: threading.Event

    @property
    def slots(self) -> int:
        """Return the slots that all jobs need: each as many as its parallelism."""
        return len(self.jobs) * self.settings.parallelism


@dataclass(frozen=True)
class Running:
    """A submitted job: its id, the older checkpoints it could still go on from, which failure was told last."""

    job: Job
    job_id: str
    older: tuple[Path, ...] = ()
    told_ms: int = 0


def run(launch: Launch) -> None:
    """Run the jobs until told to stop. Raises what main() answers."""
    configuration = launch.home.configuration(launch.settings, launch.slots)
    launch.home.make(Path(launch.environ["FLINK_HOME"]), configuration)
    os.environ.update(launch.home.environment(launch.environ))
    jvm = gateway.start(os.environ)
    try:
        begin_again_if_lost(launch)
        cluster = Cluster(configuration, launch.slots)
        try:
            serve(launch, cluster, jvm)
        finally:
            within(CLOSE_S, cluster.close)
    finally:
        gateway.stop(jvm)


def serve(launch: Launch, cluster: Cluster, jvm: "subprocess.Popen[bytes]") -> None:
    """Submit the jobs, see them well, then watch over them."""
    began = time.time()
    running = [submit(launch, cluster, job) for job in launch.jobs]
    running = until_healthy(launch, cluster, running)
    if not launch.stopping.is_set():
        names = ", ".join(job.name for job in launch.jobs)
        print(f"jobs run: {names}; http://127.0.0.1:{launch.settings.rest_port}", flush=True)
        watch(launch, running, jvm, began)


def begin_again_if_lost(launch: Launch) -> None:
    """When the broker is not the one that the state speaks of, have every job read everything again without state."""
    broker = Positions(load(BrokerSettings, launch.environ))
    lost = positions.losses(broker, launch.jobs, launch.settings.checkpoint_dir)
    for line in lost:
        log.error("broker-lost-records", what=line)
    if lost:
        log.error("jobs-begin-again", reason="the broker lost records that their state has seen", verify="needed")
        for job in launch.jobs:
            checkpoints.set_aside(checkpoint_folder(job, launch.settings))
    positions.remember(broker, launch.jobs, launch.settings.checkpoint_dir)


def submit(launch: Launch, cluster: Cluster, job: Job) -> Running:
    """Submit a job; it goes on from its newest complete checkpoint. Raises OtherState."""
    found = checkpoints.complete(checkpoint_folder(job, launch.settings))
    return submit_from(launch, cluster, job, tuple(found))


def submit_from(launch: Launch, cluster: Cluster, job: Job, found: tuple[Path, ...]) -> Running:
    """Submit a job, going on from the first of these checkpoints that can be read. Raises NotSubmitted."""
    newest, older = (found[0], found[1:]) if found else (None, ())
    parts = tuple(load(kind, launch.environ) for kind in job.settings)
    try:
        job_id = cluster.submit(job, launch.settings, parts, newest)
    except NotSubmitted as error:
        if not older:
            raise
        log.error("checkpoint-unreadable", job=job.name, checkpoint=str(newest), cause=str(error))  # noqa: TRY400
        return submit_from(launch, cluster, job, older)
    log.info("job-submitted", job=job.name, job_id=job_id, checkpoint=str(newest and newest.name))
    return Running(job, job_id, older)


def until_healthy(launch: Launch, cluster: Cluster, running: list[Running]) -> list[Running]:
    """Wait until every job runs; one whose checkpoint cannot be read goes on from the one before. Raises NotHealthy."""
    rest, deadline = Rest(launch.settings.rest_port), time.monotonic() + READY_S
    while not launch.stopping.wait(POLL_S):
        states = [rest.job(one.job_id) for one in running]
        if all(state.runs for state in states):
            break
        if time.monotonic() > deadline:
            raise NotHealthy("; ".join(described(state) for state in states if not state.runs))
        pairs = zip(running, states, strict=True)
        running = [recovered(launch, cluster, told(one, state), state) for one, state in pairs]
    return running


def recovered(launch: Launch, cluster: Cluster, one: Running, state: JobState) -> Running:
    """Return the job as it is, or submitted again from the checkpoint before. Raises NotHealthy when it has ended."""
    if one.older and any(sign in state.failure for sign in UNREADABLE):
        log.error("checkpoint-unreadable", job=one.job.name, job_id=one.job_id, cause=causes(state.failure))
        if not state.ended:
            cluster.cancel(one.job_id)
        return submit_from(launch, cluster, one.job, one.older)
    return going_on(one, state)


def watch(launch: Launch, running: list[Running], jvm: "subprocess.Popen[bytes]", began: float) -> None:
    """Tell restarts, remove old checkpoints. Raises NotHealthy when a job has ended, or the JVM."""
    rest, cleaned = Rest(launch.settings.rest_port), 0.0
    while not launch.stopping.wait(WATCH_S):
        if jvm.poll() is not None:
            raise NotHealthy(f"the JVM of the jobs ended with status {jvm.returncode}")
        states = [rest.job(one.job_id) for one in running]
        running = [going_on(told(*pair), pair[1]) for pair in zip(running, states, strict=True)]
        if time.monotonic() - cleaned > CLEAN_S:
            cleaned = time.monotonic()
            remove_old(launch, began)


def going_on(one: Running, state: JobState) -> Running:
    """Return the job back. Raises NotHealthy when it has ended."""
    if state.ended:
        raise NotHealthy(described(state))
    return one


def told(one: Running, state: JobState) -> Running:
    """Log a failure that was not told yet."""
    if state.failed_at_ms <= one.told_ms:
        return one
    log.error("job-failed", job=one.job.name, state=state.state, cause=causes(state.failure))
    return replace(one, told_ms=state.failed_at_ms)


def remove_old(launch: Launch, began: float) -> None:
    """Remove the checkpoints of earlier runs that nobody needs any more."""
    for job in launch.jobs:
        for removed in checkpoints.remove_old(checkpoint_folder(job, launch.settings), began):
            log.info("checkpoints-removed", job=job.name, run=removed.name)


def described(state: JobState) -> str:
    """Return how a job is."""
    return f"job {state.name} is {state.state}: {causes(state.failure) or 'no failure told'}"


def within(seconds: float, action: object) -> None:
    """Do something that must not hold up the end."""
    thread = threading.Thread(target=action, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(seconds)


def main(jobs: tuple[Job, ...]) -> int:
    """Run these jobs by what the environment says; gives the exit status."""
    set_up_logs("jobs")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    environ = dict(os.environ)
    try:
        run(Launch(jobs, home(environ), load(JobSettings, environ), environ, stopping))
    except (SettingsError, NotHealthy, NotStarted, NotSubmitted, OtherState, Unavailable, OSError, KeyError) as error:
        log.error("jobs-stopped", error=type(error).__name__, reason=str(error))  # noqa: TRY400 - a line, not a trace
        return 0 if stopping.is_set() else 1
    return 0


if __name__ == "__main__":
    from pipelines.streaming import catalog, study

    status = main((study.JOB, catalog.JOB))
    sys.stdout.flush()
    # Not sys.exit: py4j's finalizers would ask the JVM, which is gone, to let go of each object.
    os._exit(status)
