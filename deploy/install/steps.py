"""Run the steps of an installation side by side: each is atomic, timed, logged, and stopped when another one fails.

Standard library only.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.diagnosis import diagnose
from deploy.install.disk import MB, size_bytes
from deploy.install.step_context import StepContext
from deploy.install.subprocesses import Stopped, Subprocesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class InstallStep:
    """One part to install.

    `make` is called in a thread, when the steps in `needs` are done, unless `is_ready`. While it runs, it takes at most
    `room_bytes` in the folder `room`. `results` are the paths that it makes.
    """

    name: str
    needs: tuple[str, ...] = ()
    room: Path
    room_bytes: int
    results: tuple[Path, ...]
    is_ready: Callable[[], bool]
    make: Callable[[StepContext], None]


@dataclass(frozen=True)
class StepResult:
    """How long a step took, in seconds, and the bytes that it left on the disk."""

    took_s: float
    disk_bytes: int

    def __str__(self) -> str:
        return f"{self.took_s:.1f} s, {self.disk_bytes / MB:.0f} MB on disk"


@dataclass
class Installation:
    """The run of some steps: when each began (monotonic clock), what each left, and where its log goes."""

    logs: Path
    say: Callable[[str], None]
    subprocesses: Subprocesses = field(default_factory=Subprocesses)
    began: dict[str, float] = field(default_factory=dict)
    results: dict[str, StepResult] = field(default_factory=dict)

    def under_way(self) -> dict[str, float]:
        """Return the steps under way, each with the time when it began (monotonic clock)."""
        return {name: began for name, began in tuple(self.began.items()) if name not in self.results}

    def run(self, steps: Sequence[InstallStep], tick: Callable[[], None] = lambda: None) -> dict[str, StepResult]:
        """Make every part that is not ready, each once those that it needs are made; return the results of those made.

        `tick` is called about once a second. Raises Failed with the first failure, after every child process has ended.
        """
        futures: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(len(steps)) as pool:
            try:
                for step in steps:
                    futures[step.name] = pool.submit(self._run_step, step, [futures[name] for name in step.needs])
                _wait_for_all(futures.values(), tick)
            finally:
                self.subprocesses.stop()
        return {step.name: self.results[step.name] for step in steps if step.name in self.results}

    def _run_step(self, step: InstallStep, needs: Sequence[Future[None]]) -> None:
        for need in needs:
            if need.exception():
                raise Stopped
        if step.is_ready():
            return
        began = self.began[step.name] = time.monotonic()
        self.say(f"{step.name} ...")
        self._make(step)
        result = StepResult(time.monotonic() - began, sum(map(size_bytes, step.results)))
        self.results[step.name] = result
        self.say(f"{step.name}: {result}")

    def _make(self, step: InstallStep) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{step.name.lower().replace(' ', '-')}.log"
        with path.open("wb") as log:
            try:
                step.make(StepContext(self.subprocesses, log, self.say))
            except Failed as failure:
                raise Failed(f"{step.name}: {failure} (log: {path})") from None
            except OSError as error:
                raise Failed(f"{step.name}: {diagnose(str(error))} (log: {path})") from error


def _wait_for_all(futures: Iterable[Future[None]], tick: Callable[[], None]) -> None:
    """Wait for all steps; raises the first failure that does not follow from another."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        for failure in (future.exception() for future in done):
            if failure and not isinstance(failure, Stopped):
                raise failure
        tick()


def summary(results: Mapping[str, StepResult], took_s: float) -> str:
    """Return a table with a row for each step; the last row has the time of the whole run, since steps overlap."""
    whole = StepResult(took_s, sum(result.disk_bytes for result in results.values()))
    rows = [("", "seconds", "disk MB")]
    rows += [
        (name, f"{result.took_s:.1f}", f"{result.disk_bytes / MB:.1f}")
        for name, result in (*results.items(), ("all, side by side", whole))
    ]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {row[0]:<{width}}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)
