"""A module of the project as a process that belongs to one test, with the settings of the test and no others."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def started(module: str, **settings: str) -> "subprocess.Popen[str]":
    """Start `python -m module` with its output in pipes; the caller ends the process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_")}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env={**kept, **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    """Return a free TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
