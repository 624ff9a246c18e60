"""Passes begin when they are due, go on when they were ended, and the last one is shown whoever has made it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from deploy.local.running import wait_until
from deploy.verification import AGAIN_S, RUN, Passes, VerificationSettings
from operators.integrity.comparison import KINDS
from pipelines.batch.verify.passes import keep_last
from schemas.settings.jobs import BatchSettings
from schemas.settings.verify import VerifySettings
from schemas.telemetry import VERIFY_FINDINGS, VERIFY_LAST_PASS, VERIFY_OBJECTS

ROOT = Path(__file__).parents[3]
START = datetime(2026, 11, 30, 12, tzinfo=UTC)
EVERY_S, FIRST_S = 7 * 86400.0, 3600.0
# A pass that does nothing but note how it was begun.
NOTE = "import sys, pathlib; pathlib.Path(sys.argv[1]).open('a').write(' '.join(sys.argv[2:]) + '\\n')"
SOON_S = 30.0
# A process that begins a pass, and is then killed. Its pass tells its own number, and would never end.
BEGINNER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from deploy.verification import Passes, VerificationSettings
from schemas.settings.jobs import BatchSettings
from schemas.settings.verify import VerifySettings

started = datetime(2026, 11, 30, tzinfo=UTC)
endless = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
settings = VerificationSettings(VerifySettings(first_s=0), BatchSettings(runs_dir=Path(sys.argv[1])))
Passes(settings, (sys.executable, "-c", endless), started).look(started.replace(hour=1))
Event().wait()
"""


class Watched:
    """Passes that note how they were begun, in virtual time."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.noted = folder / "noted"
        settings = VerificationSettings(
            VerifySettings(every_s=EVERY_S, first_s=FIRST_S), BatchSettings(runs_dir=self.runs)
        )
        self.passes = Passes(settings, (sys.executable, "-c", NOTE, str(self.noted)), START)

    def begun(self, after_s: float) -> list[str]:
        """Return how passes were begun until so long after the start; one that has begun has ended."""
        before = len(self.lines())
        self.passes.look(START + timedelta(seconds=after_s))
        if self.passes.is_running:
            wait_until(lambda: len(self.lines()) > before, SOON_S, "the pass has not begun")
            wait_until(self._has_ended, SOON_S, "the pass has not ended")
        return self.lines()

    def _has_ended(self) -> bool:
        self.passes.look(START)
        return not self.passes.is_running

    def lines(self) -> list[str]:
        return self.noted.read_text().splitlines() if self.noted.exists() else []

    def leave(self, **about: str) -> None:
        """Leave what the run of a pass notes of itself."""
        (self.runs / RUN).mkdir(parents=True, exist_ok=True)
        (self.runs / RUN / "run.json").write_text(json.dumps(about))

    def keep(self, began_s: float) -> None:
        """Keep the report of a pass that began so long after the start, and took an hour."""
        began = START + timedelta(seconds=began_s)
        ended = began + timedelta(hours=1)
        report = {"objects": 5, "found": {"hash": 2}, "began_at": began.isoformat(), "finished_at": ended.isoformat()}
        keep_last(self.runs, report, ended)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    yield one
    one.passes.stop()


def test_the_first_pass_begins_so_long_after_the_first_start(watched: Watched) -> None:
    assert watched.begun(FIRST_S - 1) == []
    assert watched.begun(FIRST_S) == [f"--run {RUN} --again"]


def test_a_pass_that_was_ended_goes_on_a_minute_after_the_start(watched: Watched) -> None:
    watched.leave(began_at="earlier")

    assert watched.begun(AGAIN_S - 1) == []
    assert watched.begun(AGAIN_S) == [f"--run {RUN}"]


def test_the_next_pass_begins_so_long_after_the_last_one_began_also_one_of_another_process(watched: Watched) -> None:
    watched.leave(began_at="earlier", finished_at="earlier")
    watched.keep(began_s=-86400)

    assert watched.begun(EVERY_S - 86400 - 1) == []
    assert watched.begun(EVERY_S - 86400) == [f"--run {RUN} --again"]


def test_a_pass_that_began_at_a_moment_still_to_come_is_not_waited_for(watched: Watched) -> None:
    watched.leave(began_at="earlier", finished_at="earlier")
    watched.keep(began_s=10 * EVERY_S)

    assert watched.begun(AGAIN_S) == [f"--run {RUN} --again"]


def test_a_pass_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BEGINNER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as beginner:
        assert beginner.stdout
        try:
            # Among the lines of the log.
            running = psutil.Process(int(next(line for line in beginner.stdout if line.strip().isdigit())))
        finally:
            beginner.kill()

    wait_until(lambda: not running.is_running(), SOON_S, "the pass goes on")


def test_a_pass_that_failed_is_tried_again_a_minute_later(watched: Watched) -> None:
    watched.begun(FIRST_S)

    assert len(watched.begun(AGAIN_S - 1)) == 1
    assert len(watched.begun(FIRST_S + AGAIN_S)) == 2


def test_the_last_pass_is_shown_and_before_one_has_ended_the_first_start(watched: Watched) -> None:
    watched.passes.look(START)
    assert VERIFY_LAST_PASS._value.get() == START.timestamp()

    watched.keep(began_s=0)
    watched.passes.look(START)
    assert VERIFY_LAST_PASS._value.get() == START.timestamp() + 3600
    assert VERIFY_OBJECTS._value.get() == 5
    shown = {kind: VERIFY_FINDINGS.labels(kind)._value.get() for kind in KINDS}
    assert shown == {kind: 2 * (kind == "hash") for kind in KINDS}
