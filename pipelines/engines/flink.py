"""The Flink settings that a job runs under, whichever launcher submits it."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from pipelines.jobs import Job
from pipelines.launch.checkpoints import folder_of
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError

ROOT = Path(__file__).parents[2]
MAX_PARALLELISM = 128
# Where a job finds the state that it goes on from.
RECOVERY = "execution.state-recovery.path"

# State is durable and exact, and a failed job restarts. A checkpoint waits for bundles, so those are small.
COMMON = {
    "pipeline.max-parallelism": str(MAX_PARALLELISM),
    "pipeline.auto-generate-uids": "false",
    "pipeline.generic-types": "false",
    "execution.buffer-timeout.interval": "5 ms",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.timeout": "5 min",
    "execution.checkpointing.tolerable-failed-checkpoints": "3",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.incremental": "true",
    "execution.checkpointing.num-retained": "2",
    "state.backend.type": "rocksdb",
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.initial-backoff": "500 ms",
    "restart-strategy.exponential-delay.max-backoff": "10 s",
    "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
    "python.metric.enabled": "true",
}
BUNDLES = {
    "thread": {},
    "process": {"python.fn-execution.bundle.size": "1000", "python.fn-execution.bundle.time": "30"},
}


def configuration(job: Job, settings: JobSettings, checkpoint: Path | None = None) -> dict[str, str]:
    """Return a job's Flink settings; with a checkpoint the job goes on from it.

    Raises SettingsError when there are more subtasks than shards for them to write.
    """
    if job.mode == "process" and settings.shards < settings.parallelism:
        raise SettingsError(
            "FLUORO_JOB_SHARDS: should be several times FLUORO_JOB_PARALLELISM: each subtask writes whole shards"
        )
    own = {
        "pipeline.name": job.name,
        "parallelism.default": str(settings.parallelism),
        "execution.checkpointing.interval": f"{int(settings.checkpoint_s * 1000)} ms",
        "execution.checkpointing.dir": folder_of(job, settings).as_uri(),
        "python.execution-mode": job.mode,
    }
    recovery = {RECOVERY: checkpoint.as_uri()} if checkpoint else {}
    return COMMON | BUNDLES[job.mode] | python() | own | recovery


def python() -> dict[str, str]:
    """Return the settings of this process's interpreter and its paths, which Flink's Python does not find by itself."""
    path = f"{ROOT}:{sysconfig.get_paths()['purelib']}"
    return {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": path,
    }


def flink_configuration(values: dict[str, str]) -> Configuration:
    """Return these settings as Flink's own object."""
    made = Configuration()
    for key, value in values.items():
        made.set_string(key, value)
    return made


def environment(values: dict[str, str]) -> StreamExecutionEnvironment:
    """Return the environment of whoever runs this script (`flink run`, Kubernetes), with these settings on top."""
    return StreamExecutionEnvironment.get_execution_environment(flink_configuration(values))


def causes(error: Any) -> str:
    """Return the class of a Java error and of each of its causes, outermost first; their words may quote a record."""
    kinds = []
    while error is not None:
        kinds.append(str(error.getClass().getName()))
        error = error.getCause()
    return " <- ".join(kinds)
