"""The facts of the machine and of the code that a run was measured with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psutil

from deploy.install import layout
from deploy.install.components import postgres
from tests.support.machine.debian_tools import Programs

ROOT = Path(__file__).parents[3]


def facts(orthanc: Programs | None) -> dict[str, str | int]:
    """Return what the figures depend on: processors, memory, versions."""
    known: dict[str, str | int] = {
        "cores": os.cpu_count() or 0,
        "memory GB": round(psutil.virtual_memory().total / 1e9),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "PostgreSQL": postgres.version(layout.here()),
    }
    return known | ({"Orthanc": version(orthanc)} if orthanc else {})


def version(orthanc: Programs) -> str:
    """Return Orthanc's version."""
    program, environment = orthanc.folder / "usr" / "sbin" / "Orthanc", os.environ | orthanc.environment
    return subprocess.run(
        [program, "--version"], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()[1]


def commit() -> str:
    """Return the short hash of the commit, with a + when files differ from it."""
    described = ["git", "describe", "--always", "--abbrev=9", "--dirty=+", "--exclude=*"]
    done = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def now() -> str:
    """Return the time, UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
