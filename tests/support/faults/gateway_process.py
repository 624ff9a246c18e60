"""The process of a test's own gateway that serves: what it holds of its spool, and how many associations are open."""

from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from deploy.local.running import wait_until

SOON_S = 30.0


def serving(pid: int) -> psutil.Process:
    """Return the one process that a gateway has started."""
    (only,) = psutil.Process(pid).children()
    return only


def wait_for_another(pid: int, before: psutil.Process) -> None:
    """Wait until a gateway has started a process in place of one that has died."""

    def is_replaced() -> bool:
        children = psutil.Process(pid).children()
        return bool(children) and before not in children

    wait_until(is_replaced, SOON_S, "the gateway starts no process in place of the dead one")


def spools(process: psutil.Process, folder: Path) -> bool:
    """True if a process has a file in its spool, which has no name there."""
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            if descriptor.readlink().is_relative_to(folder):
                return True
    return False


def associations(metrics_port: int) -> float:
    """Return how many associations a gateway has open."""
    return _gauge(metrics_port, "fluoro_gateway_associations")


def unpublished(metrics_port: int) -> float:
    """Return how many events a gateway's outbox has left to publish."""
    return _gauge(metrics_port, "fluoro_gateway_outbox_open")


def _gauge(metrics_port: int, name: str) -> float:
    lines = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=SOON_S).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
