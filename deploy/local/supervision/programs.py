"""The programs that a supervisor runs: how each is started, when it is healthy, and how it is stopped."""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.supervision.processes import MARK

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class ServerProgram:
    """A program that runs as long as the stack does.

    It starts when every program that it needs is healthy or done. `check_health` is called in a thread, repeatedly
    after a start; within about two seconds it returns what is wrong, or None when the server is healthy.
    """

    name: str
    command: Sequence[str | Path]
    check_health: Callable[[], str | None]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    cwd: Path = ROOT
    ready_s: float = 60.0
    stop_s: float = 8.0
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class SetupProgram:
    """A program that prepares something at each start and must end with status 0; skipped when `is_done`."""

    name: str
    command: Sequence[str | Path]
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    cwd: Path = ROOT
    is_done: bool = False
    within_s: float = 60.0


Program = ServerProgram | SetupProgram


def environment(program: Program, run_id: str) -> dict[str, str]:
    """Return the environment of a program: its own variables, and the mark of the run."""
    return {**program.env, MARK: mark(run_id, program.name)}


def mark(run_id: str, name: str = "") -> str:
    """Return the beginning of the mark that all processes of a run have, or those of one of its programs."""
    return f"{run_id}/{name}/" if name else f"{run_id}/"


def tied_to_this_process(command: Sequence[str | Path], user: str | None) -> list[str]:
    """Return the command that runs `command` as a user, in a process that dies with this one."""
    script = ROOT / "deploy" / "local" / "supervision" / "die_with_parent.py"
    tie = (sys.executable, "-I", "-S", script, os.getpid(), user or "-")
    return [str(word) for word in (*tie, *command)]
