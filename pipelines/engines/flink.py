"""How our jobs run on Flink: what a job is, and the settings that each runs under, wherever it is submitted from."""

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError
from schemas.topics import Topic

ROOT = Path(__file__).parents[2]
MAX_PARALLELISM = 128
Mode = Literal["thread", "process"]

# Durable, exact and self-healing; a checkpoint waits for bundles, so those are small.
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


@dataclass(frozen=True)
class Job:
    """One job: its name, which is its group and its uids' prefix too, how it runs, what it reads, how it is built.

    The mode is part of the state's format: state of the other mode is silently empty.
    `build(env, *settings)` is called with an instance of each kind in `settings`.
    """

    name: str
    mode: Mode
    reads: tuple[Topic, ...]
    settings: tuple[type[Any], ...]
    build: Callable[..., None]


def checkpoint_folder(job: Job, settings: JobSettings) -> Path:
    """Return the folder of a job's checkpoints.

    What its state is keyed by is in the path: state of the other mode is not read, and what has gathered in a shard that
    is no more would wait for ever. A job without state reads everything again.
    """
    kind = {"thread": "thread", "process": f"process-{settings.shards}"}[job.mode]
    return settings.checkpoint_dir.absolute() / job.name / kind


def configuration(job: Job, settings: JobSettings) -> dict[str, str]:
    """Return a job's Flink settings; raises SettingsError for more subtasks than there is work for."""
    if job.mode == "process" and settings.shards < settings.parallelism:
        raise SettingsError(
            "FLUORO_JOB_SHARDS: should be several times FLUORO_JOB_PARALLELISM: each subtask writes whole shards"
        )
    own = {
        "pipeline.name": job.name,
        "parallelism.default": str(settings.parallelism),
        "execution.checkpointing.interval": f"{int(settings.checkpoint_s * 1000)} ms",
        "execution.checkpointing.dir": checkpoint_folder(job, settings).as_uri(),
        "python.execution-mode": job.mode,
    }
    return COMMON | BUNDLES[job.mode] | python() | own


def python() -> dict[str, str]:
    """Return the interpreter and paths of this process: workers and the embedded Python find neither by themselves."""
    path = f"{ROOT}:{sysconfig.get_paths()['purelib']}"
    return {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": path,
    }


def flink_configuration(values: dict[str, str]) -> Configuration:
    """Return these settings as Flink takes them."""
    made = Configuration()
    for key, value in values.items():
        made.set_string(key, value)
    return made


def environment(job: Job, settings: JobSettings) -> StreamExecutionEnvironment:
    """Return the environment that `flink run` provides, under the job's settings."""
    return StreamExecutionEnvironment.get_execution_environment(flink_configuration(configuration(job, settings)))
