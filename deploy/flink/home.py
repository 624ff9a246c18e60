"""What one cluster has on disk, and the environment that PyFlink's gateway reads it by."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from schemas.settings.jobs import JobSettings

# Half a gigabyte of heap, and nothing written outside our folders.
JVM = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:MaxMetaspaceSize=384m",
    "-XX:ReservedCodeCacheSize=96m",
    "-XX:-UsePerfData",
    "-Xss512k",
)
JAVA_OPTIONS = "env.java.opts.all"
CLUSTER = {
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "jobmanager.rpc.address": "127.0.0.1",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "web.submit.enable": "false",
    "web.cancel.enable": "false",
    "jobmanager.execution.failover-strategy": "region",
    # A laptop's cluster is one process: nothing can be lost but all of it.
    "heartbeat.timeout": "120 s",
}


@dataclass(frozen=True)
class Home:
    """The folder of one cluster: its configuration and its temporary files."""

    root: Path
    logs: Path

    @property
    def conf(self) -> Path:
        """Where Flink finds config.yaml and its logging."""
        return self.root / "conf"

    @property
    def temporary(self) -> Path:
        """What a run leaves here when it is killed is swept at the next start."""
        return self.root / "tmp"

    def configuration(self, settings: JobSettings, slots: int) -> dict[str, str]:
        """Return the cluster's settings."""
        port = str(settings.rest_port)
        return CLUSTER | {
            "rest.port": port,
            "rest.bind-port": port,
            "taskmanager.numberOfTaskSlots": str(slots),
            "io.tmp.dirs": str(self.temporary),
        }

    def make(self, flink_home: Path, configuration: Mapping[str, str]) -> None:
        """Write the configuration, with what the packaged one says for Java 17 and later, and sweep what was left."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.conf, self.temporary, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        packaged = YAML(typ="safe").load(flink_home / "conf" / "config.yaml")
        options = {JAVA_OPTIONS: packaged["env"]["java"]["opts"]["all"]}
        YAML().dump(options | dict(configuration), self.conf / "config.yaml")
        shutil.copyfile(Path(__file__).with_name("log4j2.properties"), self.conf / "log4j-cli.properties")

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what the gateway and its workers are started with."""
        return dict(environ) | {
            "FLINK_CONF_DIR": str(self.conf),
            "FLINK_LOG_DIR": str(self.logs),
            "TMPDIR": str(self.temporary),
        }


def home(environ: Mapping[str, str]) -> Home:
    """Choose the folder: below FLUORO_DATA, else .data in the current one."""
    root = Path(environ.get("FLUORO_DATA") or ".data").absolute()
    return Home(root / "flink", root / "logs")


def java(environ: Mapping[str, str]) -> Path:
    """Return the Java to run. Raises KeyError."""
    return Path(environ["JAVA_HOME"]) / "bin" / "java"
