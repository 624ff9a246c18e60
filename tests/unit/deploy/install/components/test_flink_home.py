"""Flink's run folder is the same for the same sources, and may be moved with its clone."""

import zipfile
from pathlib import Path

from deploy.install.components import flink_home
from deploy.install.disk import size_bytes


def test_the_same_classes_make_the_same_jar(tmp_path: Path) -> None:
    for name in ("B", "A"):
        (tmp_path / "classes" / "io").mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / "io" / f"{name}.class").write_bytes(name.encode())
    flink_home.pack(tmp_path / "classes", tmp_path / "one.jar")
    flink_home.pack(tmp_path / "classes", tmp_path / "two.jar")

    assert (tmp_path / "one.jar").read_bytes() == (tmp_path / "two.jar").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.jar").namelist() == ["META-INF/MANIFEST.MF", "io/A.class", "io/B.class"]


def test_a_jar_has_the_texts_that_lie_beside_the_classes(tmp_path: Path) -> None:
    (tmp_path / "classes" / "META-INF" / "services").mkdir(parents=True)
    (tmp_path / "classes" / "META-INF" / "services" / "Reporter").write_text("Factory\n")
    flink_home.pack(tmp_path / "classes", tmp_path / "one.jar")

    assert zipfile.ZipFile(tmp_path / "one.jar").read("META-INF/services/Reporter") == b"Factory\n"


def test_links_within_the_clone_survive_its_move(tmp_path: Path) -> None:
    clone, cache = tmp_path / "clone", tmp_path / "cache"
    for target in (clone / ".venv" / "flink.jar", cache / "kafka.jar"):
        target.parent.mkdir(parents=True)
        target.write_bytes(b"jar")
    flink_home.link_all(clone / ".tools" / "lib", [clone / ".venv" / "flink.jar", cache / "kafka.jar"], clone)
    clone.rename(tmp_path / "moved")

    links = tmp_path / "moved" / ".tools" / "lib"
    assert {link.name: link.read_bytes() for link in links.iterdir()} == {"flink.jar": b"jar", "kafka.jar": b"jar"}
    assert size_bytes(links) == 0
