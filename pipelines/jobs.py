"""The table of jobs, which every launcher reads; it imports no engine, so that importing it is cheap."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from schemas.settings.jobs import FactsSettings, JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.topics import (
    INSTANCE_QUARANTINED,
    INSTANCE_STORED,
    POLICY_CHANGED,
    STUDY_COMMAND,
    STUDY_DUE,
    TRANSFER_ENDED,
    Topic,
)

BuildFunction = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """One job: its name, the topics that it reads, the classes of its settings, and whether it writes in shards.

    The name is also the job's Kafka group, the prefix of its operators' uids, and its module in pipelines/streaming.
    """

    name: str
    reads: tuple[Topic, ...]
    settings: tuple[type[Any], ...]
    has_shards: bool = False

    def mode(self, settings: JobSettings) -> str:
        """Return PyFlink's execution mode of the job: in the JVM (thread), or in worker processes beside it.

        The mode is part of the state's format: a job that is restored in the other mode finds no state, without an error.
        """
        return settings.python_mode if self.has_shards else "thread"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the names of the topics that it reads."""
        return tuple(topic.name for topic in self.reads)

    @property
    def build(self) -> BuildFunction:
        """Return the function that builds the job's graph: `build(env, origin, *settings)`, with an instance of each class."""
        function: BuildFunction = import_module(f"pipelines.streaming.{self.name}").build
        return function


STUDY = Job("study", (INSTANCE_STORED, TRANSFER_ENDED, STUDY_COMMAND), (BrokerSettings, StudySettings, JobSettings))
CATALOG = Job(
    "catalog",
    (INSTANCE_STORED, TRANSFER_ENDED, INSTANCE_QUARANTINED, STUDY_COMMAND, POLICY_CHANGED, STUDY_DUE),
    (BrokerSettings, CatalogSettings, JobSettings, FactsSettings),
    has_shards=True,
)
JOBS = (STUDY, CATALOG)
