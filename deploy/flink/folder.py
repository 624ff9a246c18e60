"""The folder of one cluster on disk, and the environment by which PyFlink and Flink find it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from deploy.flink import reporter
from schemas.settings.jobs import JobSettings

JAVA_OPTIONS = "env.java.opts.all"
# A start needs a checkpoint before the newest one. Flink looks for this in the cluster's configuration alone, whatever a
# job's own says, and keeps one by default.
KEPT = {"execution.checkpointing.num-retained": "2"}
CLUSTER = {
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "jobmanager.rpc.address": "127.0.0.1",
    # Without it the server of blobs, which takes files from everybody, listens at every address.
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "web.submit.enable": "false",
    "web.cancel.enable": "false",
    "jobmanager.execution.failover-strategy": "region",
    # This cluster is one process: no part of it can be lost without the others.
    "heartbeat.timeout": "120 s",
}


@dataclass(frozen=True)
class ClusterFolder:
    """The folder of one cluster: its configuration and its temporary files; logs are beside it."""

    root: Path
    logs: Path

    @property
    def conf(self) -> Path:
        """The folder of config.yaml and of Flink's logging."""
        return self.root / "conf"

    @property
    def temporary(self) -> Path:
        """The folder of temporary files; those of a killed run are removed at the next start."""
        return self.root / "tmp"

    def configuration(self, settings: JobSettings, slots: int) -> dict[str, str]:
        """Return the cluster's settings."""
        port = str(settings.rest_port)
        return (
            CLUSTER
            | KEPT
            | {
                "rest.port": port,
                "rest.bind-port": port,
                "taskmanager.numberOfTaskSlots": str(slots),
                "io.tmp.dirs": str(self.temporary),
            }
            | (reporter.settings(str(settings.flink_metrics_port)) if settings.flink_metrics_port else {})
        )

    def write(self, configuration: Mapping[str, str], environ: Mapping[str, str]) -> None:
        """Write the configuration, with Flink's own Java options for Java 17 and later; remove temporary files.

        Raises KeyError without FLINK_HOME.
        """
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.conf, self.temporary, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        packaged = YAML(typ="safe").load(Path(environ["FLINK_HOME"]) / "conf" / "config.yaml")
        options = {JAVA_OPTIONS: packaged["env"]["java"]["opts"]["all"]}
        YAML().dump(options | dict(configuration), self.conf / "config.yaml")
        shutil.copyfile(Path(__file__).with_name("log4j2.properties"), self.conf / "log4j-cli.properties")

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the JVM and of Python's workers."""
        return dict(environ) | {
            "FLINK_CONF_DIR": str(self.conf),
            "FLINK_LOG_DIR": str(self.logs),
            "TMPDIR": str(self.temporary),
        }


def choose(environ: Mapping[str, str]) -> ClusterFolder:
    """Return the folder below FLUORO_DATA, else below .data in the current folder."""
    root = Path(environ.get("FLUORO_DATA") or ".data").absolute()
    return ClusterFolder(root / "flink", root / "logs")
