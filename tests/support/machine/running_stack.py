"""A running stack, as the auditor and the benchmarks use it.

`python -m tests.support.machine.running_stack FOLDER COMMAND...` runs a command with the FLUORO_* variables of the stack in a data folder.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from deploy.errors import Failed
from deploy.local import targets
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack
from schemas.telemetry import WEB
from tests.audit.address import ArchiveAddress
from tests.audit.ledger import Ledger

# The only settings of the user that tests take over: those of the installation.
INSTALLED = ("FLUORO_CACHE", "FLUORO_MINIO")


def running_stack(folder: Path) -> RunningStack:
    """Return the stack that runs on a data folder; exit with a message and status 2 where none runs."""
    stack = RunningStack(DataFolder(folder.absolute()))
    try:
        stack.state()
    except Failed as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(2)
    return stack


def environment_without_settings() -> dict[str, str]:
    """Return our environment for a stack of a test's own: without settings, save those of where servers are installed."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_") or name in INSTALLED}


def end_on_term() -> None:
    """Make SIGTERM end this process as Ctrl-C does, so that its servers stop and its temporary folders are removed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def address_of(stack: RunningStack) -> ArchiveAddress:
    """Return the address of a stack for the auditor, with the role that sees all tenants."""
    metrics = tuple(url for kind, url in metrics_of(stack) if kind != WEB)
    return ArchiveAddress(stack.plan.settings("writer"), stack.api_url, (stack.logs,), metrics)


def metrics_of(stack: RunningStack) -> Iterator[tuple[str, str]]:
    """Yield the kind of each process that has metrics, and their URL."""
    for group in targets.targets(stack.plan):
        kind, path = group["labels"]["job"], group["labels"].get("__metrics_path__", "/metrics")
        yield from ((kind, f"http://{address}{path}") for address in group["targets"])


def ledgers_of(stack: RunningStack) -> list[Path]:
    """Return the ledgers of everything that benchmarks have sent to a stack; they are kept beside its data."""
    return sorted((stack.folder.root / "ledgers").glob("*.jsonl"))


def new_ledger(stack: RunningStack) -> Ledger:
    """Return a new ledger beside a stack's data."""
    return Ledger(stack.folder.root / "ledgers" / f"{time.time_ns()}.jsonl")


def processes_of(stack: RunningStack, server: str) -> list[psutil.Process]:
    """Return a server's process, then all its descendants."""
    head = psutil.Process(stack.state().servers[server].process.pid)
    return [head, *head.children(recursive=True)]


def cpu_seconds(stack: RunningStack) -> dict[str, float]:
    """Return the CPU seconds that each server and its descendants have used so far."""
    return {name: sum(map(cpu_seconds_of, processes_of(stack, name))) for name in stack.state().servers}


def cpu_seconds_of(process: psutil.Process) -> float:
    """Return a process's user and system time, with that of its ended children."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def main() -> int:
    """Run a command with the settings of a stack."""
    wanted = argparse.ArgumentParser(prog="python -m tests.support.machine.running_stack", description=__doc__)
    wanted.add_argument("folder", type=Path)
    wanted.add_argument("command", help="and its arguments")
    wanted.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = wanted.parse_args()
    environment = os.environ | dict(address_of(running_stack(given.folder)).env)
    return subprocess.run([given.command, *given.arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
