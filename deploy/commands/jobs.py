"""The job commands: list the jobs that have stopped for good, and resume one.

A job stops for good, instead of restarting, when it rejects too many records, or finds an event of a newer release. The
commands read and remove a file beside the checkpoints (FLUORO_JOB_CHECKPOINT_DIR). The launcher of the local stack starts a
resumed job within seconds, from its last checkpoint. A job under `flink run` is resumed by starting its script again.
"""

from argparse import ArgumentParser, Namespace
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand
from deploy.commands.output import as_json, details, print_line
from deploy.commands.sections import variables
from deploy.errors import Failed
from deploy.flink import stopped
from deploy.flink.stopped import StoppedJob
from pipelines.jobs import JOBS
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load


def list_(options: Namespace) -> None:
    """List the jobs that have stopped for good: since when, why, and what to do."""
    found = stopped.stopped_jobs(load(JobSettings, variables())).values()
    if options.json:
        for one in found:
            print_line(as_json(described(one)))
    else:
        print_line("\n\n".join(details(described(one)) for one in found) if found else "No job has stopped.")


def described(one: StoppedJob) -> dict[str, Any]:
    """Return the names and values that are printed of a stopped job; no patient data."""
    return {"job": one.name, "since": one.since, "reason": one.stop.reason, "why": one.stop.why, "do": one.advice}


def resume(options: Namespace) -> None:
    """Let a stopped job go on from its last checkpoint."""
    if not stopped.resume(options.job, load(JobSettings, variables())):
        raise Failed(f"job {options.job} has not stopped")
    print_line(f"{options.job} goes on.")


def _add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each job")


def _add_resume_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", choices=[job.name for job in JOBS], metavar="JOB", help="the name of a job")


GROUP = CommandGroup(
    "jobs",
    __doc__ or "",
    (OperatorCommand("list", list_, _add_list_arguments), OperatorCommand("resume", resume, _add_resume_arguments)),
)
