"""The jobs' JVM starts from archived classes, if they were archived by the Java that it runs on."""

from dataclasses import replace
from pathlib import Path

from deploy.flink.jvm import archived_classes
from deploy.install import layout

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})


def test_the_jvm_starts_without_an_archive_and_uses_one_of_its_own_java(tmp_path: Path) -> None:
    here = replace(HERE, root=tmp_path)
    without = archived_classes(here.java, here)
    here.flink_classes.parent.mkdir(parents=True)
    here.flink_classes.touch()

    assert without == ()
    assert archived_classes(here.java, here) == (f"-XX:SharedArchiveFile={here.flink_classes}",)
    assert archived_classes(Path("/usr/bin/java"), here) == ()
