"""The launcher's own metrics: which jobs run, and which have stopped for good."""

from collections.abc import Collection, Iterable
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from deploy.flink.rest import JobState
from pipelines.jobs import Job
from schemas.settings.jobs import JobSettings
from schemas.telemetry import JOB_RUNNING, JOB_STOPPED, LAUNCHER, registry_of

HOST = "127.0.0.1"


def serve(settings: JobSettings) -> WSGIServer | None:
    """Serve the metrics until the server is shut down; None without a port for them. Raises OSError if it is taken."""
    if not settings.metrics_port:
        return None
    server, _ = start_http_server(settings.metrics_port, HOST, registry_of(LAUNCHER))
    return server


def report(jobs: Iterable[Job], states: Iterable[JobState], stopped: Collection[str]) -> None:
    """Set the metrics of each job: by its state if it has been submitted, and whether it has stopped for good."""
    running = {state.name for state in states if state.is_running}
    for job in jobs:
        JOB_RUNNING.labels(job.name).set(job.name in running)
        JOB_STOPPED.labels(job.name).set(job.name in stopped)
