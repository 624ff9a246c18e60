"""Flink's run folder: links to the jars of its package, to the connector and its codecs, and the jars of our Java classes.

Everything but the plugin that reports metrics is on the class path, so no job names a jar.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import TYPE_CHECKING

from deploy.install.components.environment import requirements_lock
from deploy.install.disk import MB, discard
from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext

RECORDS_JAR = "fluoro-records.jar"
REPORTER_JAR = "fluoro-reporter.jar"
REPORTER = "metrics-prometheus"
# Flink looks in such a file for the reporters of a plugin.
REPORTER_SERVICE = "META-INF/services/org.apache.flink.metrics.reporter.MetricReporterFactory"
REPORTER_FACTORY = "org.apache.flink.metrics.prometheus.PrometheusAtHostFactory"
# The earliest time that a zip file can hold: with a fixed time, the same source makes the same jar.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def step(here: Layout) -> InstallStep:
    """Return the step that makes the run folder."""
    return InstallStep(
        name="Flink",
        needs=("Flink connector", "Java compiler"),
        room=here.root,
        room_bytes=1 * MB,
        results=(here.flink_home,),
        is_ready=lambda: is_current(here),
        make=lambda context: install(here, context),
    )


def key(layout: Layout) -> str:
    """Return a hash of everything that the run folder is made from."""
    locks = [requirements_lock(layout), *(layout.jar_set(name) / "jgo.lock.toml" for name in ("flink", "ecj"))]
    sources = [path for path in (layout.records_source, layout.reporter_source) if path.exists()]
    hashed = hashlib.sha256(str(layout.cache).encode())
    for path in locks + sources:
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()


def install(layout: Layout, context: StepContext) -> None:
    """Make the run folder beside the old one, then put it in the old one's place."""
    partial = layout.flink_home.with_name("flink.partial")
    discard(partial)
    link_packages(layout, partial)
    if layout.records_source.exists():
        compile_records(layout, context, partial)
    if layout.reporter_source.exists():
        compile_reporter(layout, context, partial)
    (partial / "key").write_text(key(layout), encoding="ascii")
    discard(layout.flink_home)
    partial.rename(layout.flink_home)


def is_current(layout: Layout) -> bool:
    """True if the run folder is there and was made from the present locks and source."""
    made_from = layout.flink_home / "key"
    return made_from.exists() and made_from.read_text(encoding="ascii") == key(layout)


def link_packages(layout: Layout, home: Path) -> None:
    """Link to what the run folder takes from the Python package and from the jars in the cache."""
    package = layout.site_packages / "pyflink"
    link_all(home / "lib", (*package.glob("lib/*.jar"), *layout.jars("flink").glob("*.jar")), layout.root)
    link_all(home / "plugins" / REPORTER, package.glob(f"plugins/{REPORTER}/*.jar"), layout.root)
    link_all(home, (package / name for name in ("opt", "bin", "conf")), layout.root)


def link_all(folder: Path, targets: Iterable[Path], root: Path) -> None:
    """Link to each target under its own name, by a relative link within the clone, so that the clone may be moved."""
    folder.mkdir(parents=True, exist_ok=True)
    for target in targets:
        is_in_clone = target.is_relative_to(root)
        (folder / target.name).symlink_to(os.path.relpath(target, folder) if is_in_clone else target)


def compile_records(layout: Layout, context: StepContext, home: Path) -> None:
    """Compile our Kafka records, against Flink and the connector, into a jar on the class path."""
    classes = home / "classes"
    against = (*home.glob("lib/flink-dist-*.jar"), *home.glob("lib/flink-sql-connector-kafka-*.jar"))
    compile_java(layout, context, layout.records_source, against, classes)
    pack(classes, home / "lib" / RECORDS_JAR)
    discard(classes)


def compile_reporter(layout: Layout, context: StepContext, home: Path) -> None:
    """Compile our factory of Flink's metrics reporter into a jar beside the reporter's own."""
    classes, plugin = home / "classes", home / "plugins" / REPORTER
    against = (*home.glob("lib/flink-dist-*.jar"), *plugin.glob("flink-metrics-prometheus-*.jar"))
    compile_java(layout, context, layout.reporter_source, against, classes)
    service = classes / REPORTER_SERVICE
    service.parent.mkdir(parents=True)
    service.write_text(f"{REPORTER_FACTORY}\n", encoding="ascii")
    pack(classes, plugin / REPORTER_JAR)
    discard(classes)


def compile_java(layout: Layout, context: StepContext, source: Path, against: Iterable[Path], classes: Path) -> None:
    """Compile a Java source, against these jars, into a folder of classes."""
    compiler = next(layout.jars("ecj").glob("ecj-*.jar"))
    options = ("-source", "17", "-target", "17", "-proc:none", "-nowarn", "-d", classes)
    context.run([layout.java, "-jar", compiler, *options, "-cp", os.pathsep.join(map(str, against)), source])


def pack(classes: Path, jar: Path) -> None:
    """Write a folder of classes and texts into a jar; the same ones make the same bytes."""
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF", _EPOCH), "Manifest-Version: 1.0\n")
        for path in sorted(path for path in classes.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(classes).as_posix(), _EPOCH)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
