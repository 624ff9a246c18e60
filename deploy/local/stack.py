"""The servers of the local stack: where each listens, what it is given, what it needs, how it is well."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.install.layout import Layout
from deploy.local import broker, database, health, places
from deploy.local.places import Place, State
from deploy.local.supervisor import Server, Task
from pipelines.jobs import JOBS
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.jobs import JobSettings, StudySettings
from schemas.settings.reading import load, to_env
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.web import ApiSettings, RenderSettings, StowSettings

# The web's own bound, after which it kills its workers, and a little.
WEB_STOP_S = 22
# What the local stack has other than the defaults: nobody watches a demo for two minutes of quiet.
LOCAL = {
    "FLUORO_STUDY_RELEASED_S": "2",
    "FLUORO_STUDY_QUIET_S": "10",
    "FLUORO_STUDY_QUIET_BY_MODALITY": "",
    "FLUORO_STUDY_QUIET_OPEN_S": "30",
    "FLUORO_STUDY_LIMIT_S": "3600",
}
# Of the user's environment, what a child may see: nothing that would have it use a program of the system.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")
INNER_PORTS = ("kafka", "kafka-controller", "minio", "postgres", "gateway-metrics")


@dataclass(frozen=True)
class Stack:
    """One stack: its folder, its ports, the user's settings, the user that the database runs as."""

    layout: Layout
    place: Place
    ports: Mapping[str, int]
    environ: Mapping[str, str]
    account: str | None

    @cached_property
    def store(self) -> StoreSettings:
        """How the object store is reached."""
        endpoint = f"http://127.0.0.1:{self.ports['minio']}"
        given = load(StoreSettings, self.environ)
        access, secret = self.place.secret("store-access"), self.place.secret("store-secret")
        return replace(given, endpoint=endpoint, access_key=access, secret_key=secret)

    @cached_property
    def broker(self) -> BrokerSettings:
        """How the broker is reached."""
        return replace(load(BrokerSettings, self.environ), bootstrap=f"127.0.0.1:{self.ports['kafka']}")

    def catalog(self, role: str) -> CatalogSettings:
        """How the catalog is reached as one of its roles."""
        given = load(CatalogSettings, self.environ)
        where = replace(given, host="127.0.0.1", port=self.ports["postgres"], database=database.DATABASE)
        return replace(where, user=role, password=self.place.secret(role))

    @cached_property
    def dimse(self) -> DimseSettings:
        """The DIMSE door."""
        given = load(DimseSettings, self.environ)
        return replace(given, port=self.ports["dimse"], metrics_port=self.ports["gateway-metrics"])

    @cached_property
    def intake(self) -> IntakeSettings:
        """How both doors take instances in."""
        given = load(IntakeSettings, self.environ)
        return replace(given, spool_dir=self.place.root / "spool", outbox_dir=self.place.root / "outbox")

    @cached_property
    def quarantine(self) -> QuarantineSettings:
        """How long refused objects are kept, and how many bytes of them."""
        return load(QuarantineSettings, self.environ)

    @cached_property
    def api(self) -> ApiSettings:
        """The read door."""
        return replace(load(ApiSettings, self.environ), port=self.ports["web"])

    @cached_property
    def render(self) -> RenderSettings:
        """The processes that decode and render."""
        return load(RenderSettings, self.environ)

    @cached_property
    def stow(self) -> StowSettings:
        """The STOW-RS door."""
        return load(StowSettings, self.environ)

    @cached_property
    def job(self) -> JobSettings:
        """How jobs run."""
        given = load(JobSettings, self.environ)
        return replace(given, checkpoint_dir=self.place.root / "checkpoints", rest_port=self.ports["flink"])

    @cached_property
    def study(self) -> StudySettings:
        """When a study is due."""
        return load(StudySettings, self.environ)

    @property
    def about(self) -> dict[str, Mapping[str, Any]]:
        """Return what recall() needs."""
        return {"ports": self.ports, "environ": self.environ}

    def env(self, *sections: Any) -> dict[str, str]:
        """Return a child's environment: a little of ours, and the settings that it needs."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        settings = (to_env(section) for section in sections)
        own = {"TMPDIR": str(self.place.root / "tmp"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
        return inherited | own | {name: value for one in settings for name, value in one.items()}

    def settings(self, role: str) -> dict[str, str]:
        """Return every setting of the stack as variables, the catalog's for one role."""
        doors = (self.dimse, self.intake, self.quarantine, self.api, self.render, self.stow)
        sections = (self.store, self.broker, self.catalog(role), *doors, self.job, self.study)
        return {name: value for section in sections for name, value in to_env(section).items()}

    def python(self, *arguments: str | Path) -> tuple[str | Path, ...]:
        """Return the command that runs a module or script of ours."""
        return (self.layout.python, *arguments)


def plan(layout: Layout, place: Place, environ: Mapping[str, str], *, free_ports: bool) -> Stack:
    """Choose ports and accounts. Raises SettingsError and Failed."""
    environ = LOCAL | {name: value for name, value in environ.items() if name.startswith("FLUORO_")}
    dimse = load(DimseSettings, environ)
    wanted = {
        "dimse": dimse.port,
        "web": load(ApiSettings, environ).port,
        "flink": load(JobSettings, environ).rest_port,
    }
    wanted = {name: 0 if free_ports else port for name, port in wanted.items()} | dict.fromkeys(INNER_PORTS, 0)
    # Every process of the gateway has its own for its metrics.
    widths = {"gateway-metrics": dimse.processes}
    return Stack(layout, place, places.ports(place, wanted, widths), environ, database.account())


def recall(layout: Layout, state: State, place: Place) -> Stack:
    """Return the stack that runs, as it was planned."""
    return Stack(layout, place, state.about["ports"], state.about["environ"], None)


def nodes(stack: Stack) -> tuple[Server | Task, ...]:
    """Return all that runs, in the order in which it is told."""
    return (*database_nodes(stack), *broker_nodes(stack), *store_nodes(stack), *own_nodes(stack))


def database_nodes(stack: Stack) -> tuple[Server | Task, ...]:
    """PostgreSQL, and the catalog's tables in it."""
    folder, programs = stack.place.root / "postgres", stack.layout.postgres_bin
    port = stack.ports["postgres"]
    return (
        Task(
            name="initdb",
            command=stack.python("-S", "deploy/local/database.py", stack.place.root, programs, stack.account or "-"),
            env=stack.env(),
            done=folder.exists(),
        ),
        Server(
            name="postgres",
            command=(programs / "postgres", "-D", folder, "-p", str(port)),
            needs=("initdb",),
            env={"LC_ALL": "C", "TZ": "UTC"},
            user=stack.account,
            cwd=Path("/"),
            problem=health.postgres_ready(port),
            stop_signal=database.STOP_SIGNAL,
        ),
        Task(
            name="catalog",
            command=stack.python("-m", "deploy.prepare", "catalog"),
            needs=("postgres",),
            env=stack.env(stack.catalog("owner")),
        ),
    )


def broker_nodes(stack: Stack) -> tuple[Server | Task, ...]:
    """Kafka, and the topics in it."""
    properties = broker.write_settings(stack.place, stack.ports)
    java = stack.env() | stack.layout.java_environment()
    return (
        Task(
            name="kafka-format",
            command=broker.format_command(stack.layout, stack.place, properties),
            env=java,
            done=broker.is_formatted(stack.place),
        ),
        Server(
            name="kafka",
            command=broker.start_command(stack.layout, stack.place, properties),
            needs=("kafka-format",),
            env=java,
            problem=health.listens(stack.ports["kafka"]),
        ),
        Task(
            name="topics",
            command=stack.python("-m", "deploy.prepare", "topics"),
            needs=("kafka",),
            env=stack.env(stack.broker),
        ),
    )


def store_nodes(stack: Stack) -> tuple[Server | Task, ...]:
    """MinIO, and the buckets in it."""
    folder, port = stack.place.root / "minio", stack.ports["minio"]
    own = {
        "MINIO_ROOT_USER": stack.store.access_key,
        "MINIO_ROOT_PASSWORD": stack.store.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
    }
    return (
        Server(
            name="minio",
            command=(
                stack.layout.minio,
                "server",
                "--address",
                f"127.0.0.1:{port}",
                "--certs-dir",
                folder / ".certs",
                folder,
            ),
            env=stack.env() | own,
            problem=health.http_ok(port, "/minio/health/live"),
        ),
        Task(
            name="buckets",
            command=stack.python("-m", "deploy.prepare", "buckets"),
            needs=("minio",),
            env=stack.env(stack.store, stack.quarantine),
        ),
    )


def own_nodes(stack: Stack) -> tuple[Server | Task, ...]:
    """Our own processes: the jobs, the way in, the way out."""
    taking_in, web = (stack.intake, stack.quarantine), (stack.api, stack.render, stack.stow)
    flink = stack.layout.flink_environment() | {"FLUORO_DATA": str(stack.place.root)}
    return (
        Server(
            name="flink",
            command=stack.python("-m", "deploy.flink.cluster"),
            needs=("topics", "buckets", "catalog"),
            env=stack.env(stack.job, stack.broker, stack.store, stack.catalog("writer"), stack.study) | flink,
            problem=health.jobs_run(stack.job.rest_port, len(JOBS)),
            ready_s=120,
            stop_s=12,
        ),
        Server(
            name="gateway",
            command=stack.python("-m", "gateway"),
            needs=("topics", "buckets"),
            env=stack.env(stack.dimse, *taking_in, stack.broker, stack.store),
            problem=gateway_health(stack.dimse),
        ),
        Server(
            name="web",
            command=stack.python("-m", "deploy.web"),
            needs=("topics", "buckets", "catalog"),
            env=stack.env(*web, *taking_in, stack.store, stack.catalog("reader"), stack.broker),
            problem=health.http_ok(stack.api.port, "/healthz", stack.api.host),
            stop_s=WEB_STOP_S,
        ),
    )


def gateway_health(dimse: DimseSettings) -> health.Check:
    """Return how the DIMSE door is asked, where it listens, in clear or by TLS."""
    if dimse.tls_certificate:
        return health.shakes_hands(dimse.host, dimse.port)
    return health.echoes(dimse.host, dimse.port, dimse.ae_title)
