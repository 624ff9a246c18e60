"""The plan of one local stack: its folder, its ports, and the settings that each server gets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.install.layout import Layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.servers import postgres_account
from deploy.local.servers.create_database import DATABASE
from deploy.local.supervision.stack_state import StackState
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.jobs import BatchSettings, FactsSettings, JobSettings, StudySettings
from schemas.settings.reading import TESTS, load, to_env
from schemas.settings.renamed import without_old_names
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.verify import VerifySettings
from schemas.settings.web import ApiSettings, RenderSettings, StowSettings

# Where the local stack differs from the defaults. Nobody watches a demo for two minutes of quiet.
LOCAL = {
    "FLUORO_STUDY_RELEASED_S": "2",
    "FLUORO_STUDY_QUIET_S": "10",
    "FLUORO_STUDY_QUIET_BY_MODALITY": "",
    "FLUORO_STUDY_QUIET_OPEN_S": "30",
    "FLUORO_STUDY_LIMIT_S": "3600",
    # Each fetch and each wake-up of the broker looks at every partition.
    "FLUORO_BROKER_TOPIC_PARTITIONS": "4",
}
# The only variables of the user that a server gets: others could make it use another program of the system.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")
INNER_PORTS = ("kafka", "kafka-controller", "minio", "postgres", "gateway-metrics", "job-metrics", "verify-metrics")


@dataclass(frozen=True)
class Stack:
    """A stack: its folder, its ports, the user's FLUORO_* settings, and the system user that PostgreSQL runs as.

    Without jobs, its Flink port is that of another cluster.
    """

    layout: Layout
    folder: DataFolder
    ports: Mapping[str, int]
    environ: Mapping[str, str]
    account: str | None
    with_jobs: bool = True

    @cached_property
    def store(self) -> StoreSettings:
        """The settings that reach the object store."""
        given = load(StoreSettings, self.environ)
        return StoreSettings(
            endpoint=f"http://127.0.0.1:{self.ports['minio']}",
            access_key=self.folder.secret("store-access"),
            secret_key=self.folder.secret("store-secret"),
            connect_s=given.connect_s,
            no_progress_s=given.no_progress_s,
        )

    @cached_property
    def broker(self) -> BrokerSettings:
        """The settings that reach the broker."""
        given = load(BrokerSettings, self.environ)
        return BrokerSettings(
            bootstrap=f"127.0.0.1:{self.ports['kafka']}",
            produce_s=given.produce_s,
            topic_partitions=given.topic_partitions,
        )

    def catalog(self, role: str) -> CatalogSettings:
        """Return the settings that reach the catalog as one of its roles."""
        given = load(CatalogSettings, self.environ)
        where = replace(given, host="127.0.0.1", port=self.ports["postgres"], database=DATABASE, sslmode="", tls_ca="")
        return replace(where, user=role, password=self.folder.secret(role))

    @cached_property
    def dimse(self) -> DimseSettings:
        """The settings of the DIMSE gateway."""
        given = load(DimseSettings, self.environ)
        return replace(given, port=self.ports["dimse"], metrics_port=self.ports["gateway-metrics"])

    @cached_property
    def intake(self) -> IntakeSettings:
        """The settings of the intake of instances, for the DIMSE gateway and for STOW-RS."""
        given = load(IntakeSettings, self.environ)
        return replace(given, spool_dir=self.folder.root / "spool", outbox_dir=self.folder.root / "outbox")

    @cached_property
    def quarantine(self) -> QuarantineSettings:
        """The settings of the quarantine."""
        return load(QuarantineSettings, self.environ)

    @cached_property
    def api(self) -> ApiSettings:
        """The settings of the read API."""
        jobs_url = f"http://127.0.0.1:{self.ports['flink']}"
        return replace(load(ApiSettings, self.environ), port=self.ports["web"], jobs_url=jobs_url)

    @cached_property
    def render(self) -> RenderSettings:
        """The settings of decoding and rendering."""
        return load(RenderSettings, self.environ)

    @cached_property
    def stow(self) -> StowSettings:
        """The settings of STOW-RS."""
        return load(StowSettings, self.environ)

    @cached_property
    def job(self) -> JobSettings:
        """The settings of the Flink jobs."""
        given = load(JobSettings, self.environ)
        return replace(
            given,
            checkpoint_dir=self.folder.root / "checkpoints",
            rest_port=self.ports["flink"],
            # A running stack that an older release has started has no port for these metrics.
            metrics_port=self.ports.get("job-metrics", 0),
        )

    @cached_property
    def study(self) -> StudySettings:
        """The settings that decide when a study is due."""
        return load(StudySettings, self.environ)

    @cached_property
    def facts(self) -> FactsSettings:
        """The settings of the topic for analysts."""
        return load(FactsSettings, self.environ)

    @cached_property
    def batch(self) -> BatchSettings:
        """The settings of the batch pipelines."""
        return replace(load(BatchSettings, self.environ), runs_dir=self.folder.root / "batch")

    @cached_property
    def verify(self) -> VerifySettings:
        """The settings of the verification."""
        given = load(VerifySettings, self.environ)
        # A running stack that an older release has started has no port for these metrics.
        return replace(given, metrics_port=self.ports.get("verify-metrics", 0))

    @property
    def record(self) -> dict[str, Mapping[str, Any]]:
        """The values that recall() needs, for the state file; whoever recalls the stack is told of no old name again."""
        environ = without_old_names(self.environ)
        return {"ports": self.ports, "environ": environ, "jobs": {"run": self.with_jobs}}

    def env(self, *sections: Any) -> dict[str, str]:
        """Return a server's environment: a few of the user's variables, and the sections of settings that it needs."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ} | self.allowed
        settings = (to_env(section) for section in sections)
        own = {"TMPDIR": str(self.folder.root / "tmp"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
        return inherited | own | {name: value for variables in settings for name, value in variables.items()}

    def settings(self, role: str) -> dict[str, str]:
        """Return all settings of the stack as variables; the catalog's are for one role."""
        doors = (self.dimse, self.intake, self.quarantine, self.api, self.render, self.stow)
        sections = (self.store, self.broker, self.catalog(role), *doors, self.job, self.study, self.facts)
        batch = (self.batch, self.verify)
        return {
            name: value for section in (*sections, *batch) for name, value in to_env(section).items()
        } | self.allowed

    @property
    def allowed(self) -> dict[str, str]:
        """Return the variable that allows settings which are for tests only, if it is set."""
        return {name: value for name, value in self.environ.items() if name == TESTS}

    def python(self, *arguments: str | Path) -> tuple[str | Path, ...]:
        """Return a command of this environment's Python."""
        return (self.layout.python, *arguments)


def plan(
    layout: Layout, folder: DataFolder, environ: Mapping[str, str], *, free_ports: bool, with_jobs: bool = True
) -> Stack:
    """Return a stack with its ports and PostgreSQL's account chosen. Raises SettingsError and Failed."""
    environ = LOCAL | {name: value for name, value in environ.items() if name.startswith("FLUORO_")}
    dimse = load(DimseSettings, environ)
    public_ports = {
        "dimse": dimse.port,
        "web": load(ApiSettings, environ).port,
        "flink": load(JobSettings, environ).rest_port,
    }
    wanted = {name: 0 if free_ports else port for name, port in public_ports.items()} | dict.fromkeys(INNER_PORTS, 0)
    # Every process of the gateway serves its metrics on a port of its own; so do the jobs' launcher and Flink.
    widths = {"gateway-metrics": dimse.processes, "job-metrics": 2}
    ports = choose_ports(folder, wanted, widths)
    return Stack(layout, folder, ports, environ, postgres_account.ensure(), with_jobs)


def recall(layout: Layout, folder: DataFolder, state: StackState) -> Stack:
    """Return the stack that runs, as it was planned."""
    # A release before this one always had jobs.
    with_jobs = state.plan.get("jobs", {"run": True})["run"]
    return Stack(layout, folder, state.plan["ports"], state.plan["environ"], None, with_jobs)
