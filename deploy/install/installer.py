"""Check, then run the steps that are needed side by side, and print their progress. Standard library only."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install import preflight
from deploy.install.components import class_archives, environment, flink_home, jars, minio, postgres
from deploy.install.disk import MB
from deploy.install.steps import Installation, summary

if TYPE_CHECKING:
    from deploy.install.layout import Layout
    from deploy.install.steps import InstallStep


def steps(here: Layout) -> tuple[InstallStep, ...]:
    """Return all steps, each after those that it needs; MinIO takes longest, so its step comes as early as possible.

    The sizes are measured, plus a tenth.
    """
    return (
        environment.uv_step(here),
        minio.step(here, os.environ),
        environment.step(here),
        jars.step(here, "Kafka", "kafka", 50 * MB),
        jars.step(here, "Flink connector", "flink", 25 * MB),
        jars.step(here, "Java compiler", "ecj", 5 * MB),
        postgres.step(here),
        flink_home.step(here),
        class_archives.step(here, class_archives.of_kafka(here)),
        class_archives.step(here, class_archives.of_jobs(here)),
    )


def install(here: Layout) -> None:
    """Run the steps that are needed; raises Failed with every obstacle, or with the first failure."""
    missing = [step for step in steps(here) if not step.is_ready()]
    if not missing:
        say("Everything is installed.")
        return
    rooms = [(step.room, step.room_bytes) for step in missing]
    obstacles = preflight.before_install(rooms, here.cache, is_root=os.geteuid() == 0)
    if obstacles:
        raise Failed("\n".join(map(str, obstacles)))
    say(f"Installing {', '.join(step.name for step in missing)}; servers go to {here.cache}")
    began = time.monotonic()
    installation = Installation(here.tools / "logs", say)
    results = installation.run(steps(here), lambda: show_progress(installation))
    say(summary(results, time.monotonic() - began))


def show_progress(installation: Installation) -> None:
    """On a terminal, show the steps under way, and how long each has taken, in one line that is overwritten."""
    if sys.stdout.isatty():
        now = time.monotonic()
        parts = [f"{name} {now - began:.0f} s" for name, began in installation.under_way().items()]
        print(f"\r\033[K  {', '.join(parts)}" if parts else "\r\033[K", end="", flush=True)


def say(line: str) -> None:
    """Print a line, on a terminal in place of the progress."""
    print(f"\r\033[K{line}" if sys.stdout.isatty() else line, flush=True)
