"""The state of each job of the stack, as people read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.flink.rest import JobRun, Rest, causes
from deploy.flink.stopped import StoppedJob, stopped_jobs
from deploy.local.report import times
from pipelines.jobs import JOBS
from schemas.settings.jobs import JobSettings


@dataclass(frozen=True)
class JobsReport:
    """A line for each job, and a problem for each that does not run."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]


# Of a stack that was started without jobs.
ELSEWHERE = JobsReport(("  jobs      left to another cluster",), ())


def report(settings: JobSettings) -> JobsReport:
    """Return the report of the jobs that should run."""
    try:
        runs = Rest(settings.rest_port).newest_runs()
    except OSError:
        return JobsReport((), ("the jobs' cluster does not answer",))
    stopped = stopped_jobs(settings)
    pairs = [_line_and_problem(job.name, runs.get(job.name), stopped.get(job.name)) for job in JOBS]
    return JobsReport(tuple(line for line, _ in pairs), tuple(problem for _, problem in pairs if problem))


def _line_and_problem(name: str, run: JobRun | None, stopped: StoppedJob | None) -> tuple[str, str | None]:
    if stopped:
        line = f"stopped for good since {_moment(stopped.since)}: {stopped.stop.reason}"
        return f"  {name:<10}{line}", f"job {name} has stopped for good: python -m deploy.commands jobs list"
    if run is None:
        return f"  {name:<10}not there", f"job {name} is not there"
    problem = None if run.state.is_running else f"job {name} is {_word(run)}"
    return f"  {name:<10}{'; '.join(_parts(run))}", problem


def _parts(run: JobRun) -> Iterator[str]:
    yield f"{_word(run)} since {_moment(run.since)}, {_restarted(run.restarts)}"
    if run.state.failure:
        failed_at = datetime.fromtimestamp(run.state.failed_at_ms / 1000, UTC)
        yield f"last failure {_moment(failed_at)}: {causes(run.state.failure)}"


def _restarted(count: int) -> str:
    return f"restarted {times(count)}" if count else "never restarted"


def _word(run: JobRun) -> str:
    """Return the state of a job, or `starting` while some of its tasks do not run yet."""
    return "starting" if run.state.state == "RUNNING" and not run.state.is_running else run.state.state


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
