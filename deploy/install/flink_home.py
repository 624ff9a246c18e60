"""Flink's run folder: links to the package's jars, the connector, its codecs, and our one Java class as a jar.

Everything stands on the class path, so no job names a jar.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import TYPE_CHECKING

from deploy.install.disk import discard, size_bytes
from deploy.install.steps import Cost, timed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.steps import Work

RECORDS_JAR = "fluoro-records.jar"
PLUGINS = ("metrics-prometheus",)
# Zip cannot say an earlier time; a fixed one makes the same source the same jar.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def key(layout: Layout) -> str:
    """What the run folder is made from: another key, another folder."""
    inputs = [layout.root / "requirements.lock", *(layout.jar_set(s) / "jgo.lock.toml" for s in ("flink", "ecj"))]
    source = [layout.records_source] if layout.records_source.exists() else []
    hashed = hashlib.sha256(str(layout.cache).encode())
    for path in inputs + source:
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()


def make(layout: Layout, work: Work) -> Cost:
    """Build the run folder beside the old one, then swap."""
    partial = layout.flink_home.with_name("flink.partial")
    discard(partial)
    with timed() as build_s:
        arrange(layout, partial)
        if layout.records_source.exists():
            compile_records(layout, work, partial)
        (partial / "key").write_text(key(layout), encoding="ascii")
        discard(layout.flink_home)
        partial.rename(layout.flink_home)
    return Cost(build_s=build_s(), disk_bytes=size_bytes(layout.flink_home))


def is_current(layout: Layout) -> bool:
    """Whether the run folder is there and made from what there is now."""
    made = layout.flink_home / "key"
    return made.exists() and made.read_text(encoding="ascii") == key(layout)


def arrange(layout: Layout, home: Path) -> None:
    """Lay the links out."""
    package = layout.site_packages / "pyflink"
    link_all(home / "lib", (*package.glob("lib/*.jar"), *layout.jars("flink").glob("*.jar")), layout.root)
    link_all(home / "plugins", (package / "plugins" / name for name in PLUGINS), layout.root)
    link_all(home, (package / name for name in ("opt", "bin", "conf")), layout.root)


def link_all(folder: Path, targets: Iterable[Path], root: Path) -> None:
    """Link to each target under its own name; relative ones within the clone, so that it may be moved."""
    folder.mkdir(parents=True, exist_ok=True)
    for target in targets:
        inside = target.is_relative_to(root)
        (folder / target.name).symlink_to(os.path.relpath(target, folder) if inside else target)


def compile_records(layout: Layout, work: Work, home: Path) -> None:
    """Compile our source against Flink and the connector, into a jar on the class path."""
    classes = home / "classes"
    against = (*home.glob("lib/flink-dist-*.jar"), *home.glob("lib/flink-sql-connector-kafka-*.jar"))
    compiler = next(layout.jars("ecj").glob("ecj-*.jar"))
    options = ("-source", "17", "-target", "17", "-proc:none", "-nowarn", "-d", classes)
    class_path = os.pathsep.join(map(str, against))
    work.run([layout.java, "-jar", compiler, *options, "-cp", class_path, layout.records_source])
    pack(classes, home / "lib" / RECORDS_JAR)
    discard(classes)


def pack(classes: Path, jar: Path) -> None:
    """Put a folder of classes into a jar; the same classes give the same bytes."""
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF", _EPOCH), "Manifest-Version: 1.0\n")
        for path in sorted(classes.rglob("*.class")):
            entry = zipfile.ZipInfo(path.relative_to(classes).as_posix(), _EPOCH)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
