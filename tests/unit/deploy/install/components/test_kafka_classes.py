"""The archive of Kafka's classes is made again when the Java runtime or the jars change, and only then."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.install import layout
from deploy.install.components import kafka_classes
from deploy.install.layout import Layout

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})


class Clone(Layout):
    """This clone, with tools of its own."""

    own_tools = Path()

    @property
    def tools(self) -> Path:
        return self.own_tools


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    found = Clone(HERE.root, HERE.cache)
    Clone.own_tools = tmp_path
    found.kafka_classes.parent.mkdir()
    found.kafka_classes.touch()
    found.kafka_classes.with_name("key").write_text(kafka_classes.key(HERE))
    return found


def test_an_archive_is_current_while_runtime_and_jars_stay_as_they_are(clone: Clone) -> None:
    assert kafka_classes.is_current(clone)
    assert not kafka_classes.is_current(replace(clone, cache=Path("/elsewhere")))


def test_no_archive_is_not_current(tmp_path: Path) -> None:
    Clone.own_tools = tmp_path

    assert not kafka_classes.is_current(Clone(HERE.root, HERE.cache))
