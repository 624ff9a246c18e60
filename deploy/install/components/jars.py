"""Fetch the sets of jars, each pinned by its own lock: Kafka, Flink's connector, the Java compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext


def step(here: Layout, name: str, jar_set: str, room_bytes: int) -> InstallStep:
    """Return the step that fetches a set of jars."""
    return InstallStep(
        name=name,
        needs=("Python environment",),
        room=here.cache,
        room_bytes=room_bytes,
        results=(here.jars(jar_set),),
        is_ready=here.jars(jar_set).exists,
        make=lambda context: install(here, context, jar_set),
    )


def install(here: Layout, context: StepContext, jar_set: str) -> None:
    """Fetch a set of jars into its folder of the cache."""
    with context.building(here.jars(jar_set)) as building:
        if building:
            inner, folder = building
            fetch(here, inner, jar_set, folder)


def fetch(here: Layout, context: StepContext, jar_set: str, folder: Path, *only: str) -> None:
    """Fetch the jars of a lock into a folder, or only the jar of one name; each is checked by its sha256."""
    script = here.root / "deploy" / "install" / "components" / "fetch_jars.py"
    context.run([here.python, script, here.jar_set(jar_set) / "jgo.lock.toml", folder, *only])
