"""A real Prometheus on loopback, for tests that scrape, query and alert as a hospital's own does."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.machine.debian_tools import Programs
from tests.support.machine.processes import free_port

BOUND_S = 60.0
LOOK_S = 0.2
STOP_S = 10.0


@dataclass(frozen=True)
class Sample:
    """The present value of one series, with its labels; `__name__` among them where the expression has kept it."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Target:
    """What Prometheus scrapes, its health (`up`, `down`, or `unknown` before the first scrape), and its last error."""

    url: str
    labels: Mapping[str, str]
    health: str
    error: str


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[Sample]:
        """Return what a PromQL expression gives now. Raises AssertionError with Prometheus' words if it is invalid."""
        found = self._get("query", query=expression)
        if found["resultType"] == "scalar":
            return [Sample({}, float(found["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in found["result"]]

    def names(self) -> set[str]:
        """Return the names of all metrics that it has scraped."""
        return set(self._get("label/__name__/values"))

    def targets(self) -> list[Target]:
        """Return everything that it scrapes."""
        active = self._get("targets", state="active")["activeTargets"]
        return [Target(one["scrapeUrl"], one["labels"], one["health"], one["lastError"]) for one in active]

    def wait_up(self, bound_s: float = BOUND_S) -> list[Target]:
        """Wait until there are targets and all are up; return them. Raises AssertionError with those that are not."""
        deadline = time.monotonic() + bound_s
        while not (found := self.targets()) or any(target.health != "up" for target in found):
            assert time.monotonic() < deadline, f"not up: {[target for target in found if target.health != 'up']}"
            time.sleep(LOOK_S)
        return found

    def wait_for(self, expression: str, bound_s: float = BOUND_S) -> list[Sample]:
        """Wait until an expression gives samples; return them. Raises AssertionError if it gives none in time."""
        deadline = time.monotonic() + bound_s
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"no sample: {expression}"
            time.sleep(LOOK_S)
        return found

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False).json()
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        return answer["data"]


@contextmanager
def prometheus(programs: Programs, configuration: Path, folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus with a configuration file for the block; its data and its log are in `folder`.

    It scrapes at the intervals of the file: for a test, one second.
    """
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}")
    command = programs.command("prometheus", *options, f"--web.listen-address={address}")
    with (
        (folder / "prometheus.log").open("ab") as log,
        subprocess.Popen(command, env=os.environ | programs.environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_ready(f"http://{address}", process, folder / "prometheus.log")
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(STOP_S)


def wait_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until Prometheus answers; raises AssertionError with its log when it ends before, or not in time."""
    deadline = time.monotonic() + BOUND_S
    while not is_ready(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(LOOK_S)


def is_ready(url: str) -> bool:
    """True if Prometheus serves queries."""
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False
