"""The table of jobs, which every launcher reads; it imports no engine, so that importing it is cheap."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from schemas.settings.jobs import FactsSettings, JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.topics import INSTANCE_QUARANTINED, INSTANCE_STORED, STUDY_DUE, TRANSFER_ENDED, Topic

Mode = Literal["thread", "process"]
BuildFunction = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """One job: its name, PyFlink's execution mode, the topics that it reads, and the classes of its settings.

    The name is also the job's Kafka group, the prefix of its operators' uids, and its module in pipelines/streaming.
    The mode is part of the state's format: a job that is restored in the other mode finds no state, without an error.
    """

    name: str
    mode: Mode
    reads: tuple[Topic, ...]
    settings: tuple[type[Any], ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the names of the topics that it reads."""
        return tuple(topic.name for topic in self.reads)

    @property
    def build(self) -> BuildFunction:
        """Return the function that builds the job's graph: `build(env, origin, *settings)`, with an instance of each class."""
        function: BuildFunction = import_module(f"pipelines.streaming.{self.name}").build
        return function


STUDY = Job("study", "thread", (INSTANCE_STORED, TRANSFER_ENDED), (BrokerSettings, StudySettings, JobSettings))
CATALOG = Job(
    "catalog",
    "process",
    (INSTANCE_STORED, TRANSFER_ENDED, INSTANCE_QUARANTINED, STUDY_DUE),
    (BrokerSettings, CatalogSettings, JobSettings, FactsSettings),
)
JOBS = (STUDY, CATALOG)
