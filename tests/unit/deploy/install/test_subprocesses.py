"""The installer's subprocesses end with it, and none starts after that."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.install.subprocesses import Stopped, Subprocesses


def test_no_process_starts_after_the_stop() -> None:
    subprocesses = Subprocesses()
    subprocesses.stop()

    with pytest.raises(Stopped):
        subprocesses.start([sys.executable, "-c", ""])


def test_a_stop_ends_the_grandchildren_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import subprocess as s; p = s.Popen(['sleep', '600']); open({str(pid)!r}, 'w').write(str(p.pid)); p.wait()"
    subprocesses = Subprocesses()
    subprocesses.start([sys.executable, "-c", code])
    until(lambda: pid.exists() and pid.read_text() != "")
    subprocesses.stop()

    until(lambda: has_ended(int(pid.read_text())))


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def has_ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()
