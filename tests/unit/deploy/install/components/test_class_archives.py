"""An archive of classes is made again when the Java runtime or the jars change, and only then."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.install import layout
from deploy.install.components.class_archives import ClassArchive, of_jobs, of_kafka
from deploy.install.layout import Layout

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})

each_archive = pytest.mark.parametrize("of", [of_kafka, of_jobs], ids=["kafka", "jobs"])
ArchiveOf = Callable[[Layout], ClassArchive]


class Clone(Layout):
    """This clone, with tools of its own."""

    own_tools = Path()

    @property
    def tools(self) -> Path:
        return self.own_tools


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    Clone.own_tools = tmp_path
    return Clone(HERE.root, HERE.cache)


@each_archive
def test_an_archive_is_current_while_runtime_and_jars_stay_as_they_are(of: ArchiveOf, clone: Clone) -> None:
    archive = of(clone)
    archive.path.parent.mkdir()
    archive.key_file.write_text(archive.key)

    assert of(clone).is_current
    assert not of(replace(clone, cache=Path("/elsewhere"))).is_current


@each_archive
def test_no_archive_is_not_current(of: ArchiveOf, clone: Clone) -> None:
    assert not of(clone).is_current
