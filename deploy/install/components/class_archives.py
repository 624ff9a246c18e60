"""The archives of the classes that our Java servers load at their start: the runtime maps them, and reads no jars.

A broker that was killed, or is started for the first time, is back in half of the CPU time (measured: 2.4 s in place of
4.3), and Flink runs its jobs after three quarters of it (8.6 s in place of 11.8, on a busy machine). The runtime ignores
an archive that does not fit its jars or itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.install.components import flink_home
from deploy.install.components.environment import requirements_lock
from deploy.install.disk import MB, discard
from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext


@dataclass(frozen=True)
class ClassArchive:
    """An archive: the steps before its own, the module that writes it to `path`, and a hash of what it is made from."""

    name: str
    needs: tuple[str, ...]
    path: Path
    module: str
    key: str

    @property
    def key_file(self) -> Path:
        """The file that says what the archive was made from."""
        return self.path.with_name("key")

    @property
    def is_current(self) -> bool:
        """True if the archive is there and was made from the present runtime and jars."""
        return self.key_file.exists() and self.key_file.read_text(encoding="ascii") == self.key


def of_kafka(layout: Layout) -> ClassArchive:
    """Return the archive of the broker's classes."""
    made_from = (layout.kafka_class_path, _sha256(layout.jar_set("kafka") / "jgo.lock.toml"))
    module, needs = "deploy.local.servers.class_archive", ("Python environment", "Kafka")
    return ClassArchive("Kafka classes", needs, layout.kafka_classes, module, _key(layout, *made_from))


def of_jobs(layout: Layout) -> ClassArchive:
    """Return the archive of the classes of the jobs' JVM; to list them, the jobs run beside a broker."""
    made_from = (str(layout.flink_home), flink_home.key(layout))
    module, needs = "deploy.flink.class_archive", ("Flink", "Kafka classes")
    return ClassArchive("Flink classes", needs, layout.flink_classes, module, _key(layout, *made_from))


def step(here: Layout, archive: ClassArchive) -> InstallStep:
    """Return the step that makes an archive."""
    return InstallStep(
        name=archive.name,
        needs=archive.needs,
        room=here.root,
        room_bytes=120 * MB,
        results=(archive.path.parent,),
        is_ready=lambda: archive.is_current,
        make=lambda context: install(here, archive, context),
    )


def install(layout: Layout, archive: ClassArchive, context: StepContext) -> None:
    """Make the archive beside the old one, then put it in the old one's place."""
    folder = archive.path.parent
    partial = folder.with_name(f"{folder.name}.partial")
    discard(partial)
    partial.mkdir(parents=True)
    context.run([layout.python, "-m", archive.module, partial / archive.path.name])
    (partial / archive.key_file.name).write_text(archive.key, encoding="ascii")
    discard(folder)
    partial.rename(folder)


def _key(layout: Layout, *made_from: str) -> str:
    """Return a hash of everything that an archive is made from: the Java runtime and the jars, and where they are."""
    parts = (str(layout.java), _sha256(requirements_lock(layout)), *made_from)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
