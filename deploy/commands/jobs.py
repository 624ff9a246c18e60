"""The job commands: list the jobs that have stopped for good, resume one, change the number of shards.

A job stops for good, instead of restarting, when it rejects too many records, or finds an event of a newer release. The
commands read and remove a file beside the checkpoints (FLUORO_JOB_CHECKPOINT_DIR). The launcher of the local stack starts a
resumed job within seconds, from its last checkpoint. A job under `flink run` is resumed by starting its script again.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand
from deploy.commands.output import as_json, details, print_line
from deploy.commands.sections import ShardSections, load_sections, variables
from deploy.errors import Failed
from deploy.flink import stopped
from deploy.flink.rest import Rest
from deploy.flink.stopped import StoppedJob
from operators.connectors.kafka.positions import Positions
from operators.connectors.postgres.progress import PostgresProgress
from pipelines.jobs import CATALOG, JOBS
from pipelines.launch import resharding
from pipelines.launch.resharding import NothingToReshard
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError, load

SHARDS = "FLUORO_JOB_SHARDS"
HOW = "docs/operations.md, More shards, or fewer"


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


def reshard(options: Namespace) -> None:
    """Change the number of shards of the catalog job, while it does not run; nothing else need stop."""
    sections = load_sections(ShardSections)
    servers = Servers(Positions(sections.broker), PostgresProgress(sections.catalog))
    refuse_while_running(sections.job, servers)
    try:
        before = resharding.reshard(options.shards, sections.job, servers)
    except NothingToReshard:
        raise Failed(f"no job has written into this catalog: set {SHARDS}={options.shards}, and start it") from None
    if before == {options.shards}:
        print_line(f"The catalog has {options.shards} shards already. Nothing was changed.")
        return
    print_line(
        f"The catalog has {options.shards} shards now. Set {SHARDS}={options.shards} wherever its job is started, and start "
        f"it without -s: it reads again what its shards had not all read, and announces every revision once more, under "
        f"the same event id."
    )


def refuse_while_running(settings: JobSettings, servers: Servers) -> None:
    """Raise Failed if the catalog job runs, as far as this machine's Flink and the database know. Raises Unavailable."""
    try:
        run = Rest(settings.rest_port).newest_runs().get(CATALOG.name)
    except (OSError, LookupError, TypeError):
        # No Flink of ours is there.
        run = None
    if run and not run.state.has_ended:
        raise Failed(
            f"job {CATALOG.name} is {run.state.state} on Flink at port {settings.rest_port}: stop it first ({HOW})"
        )
    if count := servers.progress.writers():
        raise Failed(f"job {CATALOG.name} runs: it has {count} connections to the database; stop it first ({HOW})")


def shards(text: str) -> int:
    """Read a number of shards; raises ArgumentTypeError."""
    try:
        return load(JobSettings, {SHARDS: text}).shards
    except SettingsError as error:
        raise ArgumentTypeError(str(error)) from None


def _add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each job")


def _add_resume_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("job", choices=[job.name for job in JOBS], metavar="JOB", help="the name of a job")


def _add_reshard_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shards", type=shards, metavar="SHARDS", help="1, or several times the job's parallelism")


GROUP = CommandGroup(
    "jobs",
    __doc__ or "",
    (
        OperatorCommand("list", list_, _add_list_arguments),
        OperatorCommand("resume", resume, _add_resume_arguments),
        OperatorCommand("reshard", reshard, _add_reshard_arguments),
    ),
)
