"""A module of the project as a process that belongs to one test, with the settings of the test and no others."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

SOON_S = 60.0
ROOT = Path(__file__).parents[3]


def started(module: str, **settings: str) -> "subprocess.Popen[str]":
    """Start `python -m module` with its output in pipes; the caller ends the process."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env=_environment(settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def die_on_the_command_line(settings: Mapping[str, str], *arguments: str) -> None:
    """Run an operator's command in a process that kills itself at the failpoint of its settings."""
    command = (sys.executable, "-m", "deploy.commands", *arguments)
    env = _environment({**settings, "FLUORO_TESTS": "1"})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False, timeout=SOON_S)
    assert done.returncode == -signal.SIGKILL, done.stderr


def die_over_rest(settings: Mapping[str, str], method: str, path: str, said: Mapping[str, object]) -> None:
    """Send a request to a web origin of its own whose worker kills itself at the failpoint of its settings."""
    port = free_port()
    process = started("deploy.web", **{**settings, "FLUORO_TESTS": "1", "FLUORO_API_PORT": str(port)})
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("fluoro web ready")
        with pytest.raises(httpx.TransportError):
            httpx.request(method, f"http://127.0.0.1:{port}{path}", json=said, timeout=SOON_S)
    finally:
        process.terminate()
        process.communicate(timeout=SOON_S)


def free_port() -> int:
    """Return a free TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("FLUORO_")}, **settings}
