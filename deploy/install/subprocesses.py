"""The child processes of the installer, which end with it. Standard library only."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STOP_S = 5.0


class Stopped(Exception):
    """The step was stopped, because another step failed or the user asked for it."""


@dataclass
class Subprocesses:
    """The child processes that run now, in all threads, so that all of them can be stopped at once."""

    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, so that Ctrl-C reaches it and its children only through stop().

        Raises Stopped when the installation is being stopped.
        """
        with self.guard:
            if self.stopping.is_set():
                raise Stopped
            child: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                command, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
            self.running.add(child)
        return child

    def finish(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for a process and return its exit status; raises Stopped when the installation was stopped meanwhile."""
        status = child.wait()
        with self.guard:
            self.running.discard(child)
        if self.stopping.is_set():
            raise Stopped
        return status

    def stop(self) -> None:
        """Stop all processes and their children, by TERM and after STOP_S by KILL; start() raises Stopped from now on."""
        with self.guard:
            self.stopping.set()
            children = tuple(self.running)
        _signal_groups(children, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        _signal_groups(children, signal.SIGKILL)


def _signal_groups(children: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for child in children:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
