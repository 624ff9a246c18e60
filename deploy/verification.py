"""The passes of the verification, one after the other, beside a stack: `python -m deploy.verification`.

Each pass is a process of its own, `python -m pipelines.batch.verify`, which goes on where it was when it is killed. This
one waits, and serves the metrics of the last pass, which outlive it in the folder of the runs. Settings are those of the
pass.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event

import structlog
from prometheus_client import start_http_server

from deploy.local.supervision.programs import tied_to_this_process
from operators.integrity.comparison import KINDS
from pipelines.batch.journal import ABOUT
from pipelines.batch.verify import passes
from schemas.settings.jobs import BatchSettings
from schemas.settings.reading import SettingsError, load_all
from schemas.settings.verify import VerifySettings
from schemas.telemetry import VERIFIER, VERIFY_FINDINGS, VERIFY_LAST_PASS, VERIFY_OBJECTS, registry_of, set_up_logs

HOST = "127.0.0.1"
# How often it is looked whether a pass is due, or has ended.
LOOK_S = 2.0
# A pass that was stopped, or has failed, goes on so long after its end, or after the start.
AGAIN_S = 60.0
RUN = "every-object"
# Other work of the machine goes first.
NICENESS = 10

log = structlog.get_logger()


@dataclass(frozen=True)
class VerificationSettings:
    """The settings that this process reads itself."""

    verify: VerifySettings
    batch: BatchSettings


class Passes:
    """The passes on one machine, as they become due."""

    def __init__(self, settings: VerificationSettings, command: Sequence[str], now: datetime) -> None:
        self._settings = settings
        self._command = command
        self._runs = settings.batch.runs_dir
        self._not_before = now + timedelta(seconds=AGAIN_S)
        self._first_start = passes.first_start(self._runs, now)
        self._pass: subprocess.Popen[bytes] | None = None

    def look(self, now: datetime) -> None:
        """Notice the end of a pass, begin one if it is due, and show the metrics of the last one that ended."""
        if self._pass is not None and (status := self._pass.poll()) is not None:
            log.info("verification_ended", status=status)
            self._pass, self._not_before = None, now + timedelta(seconds=AGAIN_S)
        if self._pass is None and now >= self.begins_at(now):
            again = () if self._is_unfinished() else ("--again",)
            log.info("verification_begun", goes_on=not again)
            # A pass without this process would keep its run from the next one.
            self._pass = subprocess.Popen(tied_to_this_process([*self._command, "--run", RUN, *again], None))
        show(passes.read_last(self._runs), self._first_start)

    @property
    def is_running(self) -> bool:
        """True if a pass runs, or its end was not noticed yet."""
        return self._pass is not None

    def stop(self) -> None:
        """End the pass that runs; the next start goes on with it."""
        if self._pass is not None:
            self._pass.terminate()
            self._pass.wait()

    def begins_at(self, now: datetime) -> datetime:
        """Return when the next pass begins, or goes on if it was ended before it had finished, as seen at a moment."""
        if self._is_unfinished():
            return self._not_before
        settings, last = self._settings.verify, passes.read_last(self._runs)
        due = passes.due_at(last, self._first_start, settings.every_s, settings.first_s, now)
        return max(due, self._not_before)

    def _is_unfinished(self) -> bool:
        with suppress(OSError, ValueError):
            return "finished_at" not in json.loads((self._runs / RUN / ABOUT).read_text())
        return False


def show(last: passes.LastPass | None, first_start: datetime) -> None:
    """Set the metrics of the last pass; before one has ended, its moment is that of the first start."""
    VERIFY_LAST_PASS.set((last.finished_at if last else first_start).timestamp())
    VERIFY_OBJECTS.set(last.objects if last else 0)
    for kind in KINDS:
        VERIFY_FINDINGS.labels(kind).set(last.found[kind] if last else 0)


def main(environment: Mapping[str, str]) -> int:
    """Run until a signal ends it; return the exit status."""
    try:
        settings = load_all(VerificationSettings, environment)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    set_up_logs(VERIFIER)
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    os.nice(NICENESS)
    if settings.verify.metrics_port:
        start_http_server(settings.verify.metrics_port, HOST, registry_of(VERIFIER))
    all_passes = Passes(settings, (sys.executable, "-m", "pipelines.batch.verify"), passes.now())
    while not ended.wait(LOOK_S):
        all_passes.look(passes.now())
    all_passes.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
