"""The Flink settings of a job, the same for every launcher."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from pipelines.jobs import Job
from pipelines.launch.checkpoints import folder_of
from schemas.settings.jobs import JobSettings

ROOT = Path(__file__).parents[2]
MAX_PARALLELISM = 128
# The setting with the path of the state that a job continues from.
RECOVERY = "execution.state-recovery.path"

# State is durable and exact, and a failed job restarts. Bundles are small, because a checkpoint waits for them.
COMMON = {
    "pipeline.max-parallelism": str(MAX_PARALLELISM),
    "pipeline.auto-generate-uids": "false",
    "pipeline.generic-types": "false",
    # Each row is a batch, or few: no thread need look for rows that wait.
    "execution.buffer-timeout.interval": "0 ms",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.timeout": "5 min",
    "execution.checkpointing.tolerable-failed-checkpoints": "3",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.incremental": "true",
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
    """Return a job's Flink settings; with a checkpoint the job continues from it."""
    own = {
        "pipeline.name": job.name,
        "parallelism.default": str(settings.parallelism),
        "execution.checkpointing.interval": f"{int(settings.checkpoint_s * 1000)} ms",
        "execution.checkpointing.dir": folder_of(job, settings).as_uri(),
        "python.execution-mode": job.mode(settings),
    }
    recovery = {RECOVERY: checkpoint.as_uri()} if checkpoint else {}
    return COMMON | BUNDLES[job.mode(settings)] | python_settings() | own | recovery


def python_settings() -> dict[str, str]:
    """Return the settings with this process's interpreter and module paths, which Flink's workers cannot find."""
    path = f"{ROOT}:{sysconfig.get_paths()['purelib']}"
    return {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": path,
    }


def flink_configuration(values: dict[str, str]) -> Configuration:
    """Return these settings as a Flink Configuration."""
    made = Configuration()
    for key, value in values.items():
        made.set_string(key, value)
    return made


def environment(values: dict[str, str]) -> StreamExecutionEnvironment:
    """Return the environment in which this script was started (`flink run`, Kubernetes), with these settings added."""
    return StreamExecutionEnvironment.get_execution_environment(flink_configuration(values))


def causes(error: Any) -> str:
    """Return the classes of a Java error and its causes, outermost first; their messages may quote a record."""
    kinds = []
    while error is not None:
        kinds.append(str(error.getClass().getName()))
        error = error.getCause()
    return " <- ".join(kinds)
