"""Install everything that Fluoro runs on: `python3 -m deploy.install`.

Needs Python 3.11 or 3.12 (with venv and its shared library), git and make;
the rest comes by pip and uv, jgo and Go from their registries, pinned by
hash. What is there is not made again, and a second run takes no time.
Standard library only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install import environment, flink_home, layout, preflight, servers
from deploy.install.disk import MB
from deploy.install.steps import Run, Step, locked, table, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.install.layout import Layout

# Bytes that each step takes at most while it runs; measured, and a tenth added.
ROOM = {
    "uv": 70 * MB,
    "MinIO": 2_800 * MB,
    "Python environment": 1_500 * MB,
    "Kafka": 50 * MB,
    "Flink connector": 25 * MB,
    "Java compiler": 5 * MB,
    "PostgreSQL": 85 * MB,
    "Flink": 1 * MB,
}


def jars_step(here: Layout, name: str, jar_set: str) -> Step:
    """The step that fetches a set of jars."""
    return Step(
        name,
        ("Python environment",),
        (here.cache, ROOM[name]),
        lambda: here.jars(jar_set).exists(),
        lambda work: servers.make_jars(here, work, jar_set),
    )


def steps(here: Layout) -> tuple[Step, ...]:
    """All there is to install, what needs what; the longest, MinIO, starts as early as it can."""
    return (
        Step(
            "uv",
            (),
            (here.root, ROOM["uv"]),
            lambda: here.uv.exists() and environment.uv_stamp(here).holds(),
            lambda work: environment.make_uv(here, work),
        ),
        Step(
            "MinIO",
            ("uv",),
            (here.cache, ROOM["MinIO"]),
            lambda: servers.minio_ready(here, os.environ),
            lambda work: servers.make_minio(here, work, os.environ),
        ),
        Step(
            "Python environment",
            ("uv",),
            (here.root, ROOM["Python environment"]),
            lambda: here.python.exists() and environment.stamp(here).holds(),
            lambda work: environment.make(here, work),
        ),
        jars_step(here, "Kafka", "kafka"),
        jars_step(here, "Flink connector", "flink"),
        jars_step(here, "Java compiler", "ecj"),
        Step(
            "PostgreSQL",
            ("Python environment",),
            (here.cache, ROOM["PostgreSQL"]),
            here.postgres.exists,
            lambda work: servers.make_postgres(here, work),
        ),
        Step(
            "Flink",
            ("Flink connector", "Java compiler"),
            (here.root, ROOM["Flink"]),
            lambda: flink_home.is_current(here),
            lambda work: flink_home.make(here, work),
        ),
    )


def live(run: Run) -> None:
    """On a terminal, one line that says what is still under way and for how long."""
    if sys.stdout.isatty():
        now = time.monotonic()
        going = [f"{name} {now - since:.0f} s" for name, since in run.going().items()]
        print(f"\r\033[K  {', '.join(going)}" if going else "\r\033[K", end="", flush=True)


def say(line: str) -> None:
    """One plain line, over the live one on a terminal."""
    print(f"\r\033[K{line}" if sys.stdout.isatty() else line, flush=True)


def install(here: Layout) -> None:
    """Make what is missing. Raises Failed."""
    todo = [step for step in steps(here) if not step.ready()]
    if not todo:
        say("Everything is installed.")
        return
    problems = preflight.before_install([step.room for step in todo], here.cache, root_user=os.geteuid() == 0)
    if problems:
        raise Failed("\n".join(map(str, problems)))
    say(f"Installing {', '.join(step.name for step in todo)}; servers go to {here.cache}")
    run = Run(here.tools / "logs", say)
    with timed() as wall_s:
        costs = run.install(steps(here), lambda: live(run))
    say(table(costs, wall_s()))


def stop(*_: object) -> None:
    """TERM ends an installation like Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 installed, 1 a problem (said in a line each), 130 stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = (
        "Settings: FLUORO_CACHE, the folder of the servers that clones share (as root: /var/cache/fluoro);"
        " FLUORO_MINIO, a MinIO server to use instead of building one."
    )
    parser.parse_args(arguments)
    # Another user than this one, PostgreSQL's, reads the cache.
    os.umask(0o022)
    signal.signal(signal.SIGTERM, stop)
    here = layout.here()
    try:
        with locked(here.tools / "install.lock", say):
            install(here)
    except Failed as failure:
        say(f"Not installed. {failure}" if "\n" not in str(failure) else f"Not installed.\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("Stopped; what is complete stays, run it again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
