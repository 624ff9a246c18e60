"""The jobs: one table that every launcher reads. It imports no engine, so that looking into it costs nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from schemas.settings.jobs import JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.topics import INSTANCE_QUARANTINED, INSTANCE_STORED, STUDY_DUE, TRANSFER_ENDED, Topic

Mode = Literal["thread", "process"]
BuildFunction = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """One job: its name, how it runs, the topics that it reads, the settings that it takes.

    The name is also the job's Kafka group, the prefix of its operators' uids, and its module in pipelines/streaming.
    The mode is part of the state's format: a job that is restored in the other mode finds no state, and no error.
    """

    name: str
    mode: Mode
    reads: tuple[Topic, ...]
    settings: tuple[type[Any], ...]

    @property
    def build(self) -> BuildFunction:
        """Return the function that builds the job's graph: `build(env, *settings)`, an instance of each kind."""
        function: BuildFunction = import_module(f"pipelines.streaming.{self.name}").build
        return function


STUDY = Job("study", "thread", (INSTANCE_STORED, TRANSFER_ENDED), (BrokerSettings, StudySettings))
CATALOG = Job(
    "catalog",
    "process",
    (INSTANCE_STORED, TRANSFER_ENDED, INSTANCE_QUARANTINED, STUDY_DUE),
    (BrokerSettings, CatalogSettings, JobSettings),
)
JOBS = (STUDY, CATALOG)
