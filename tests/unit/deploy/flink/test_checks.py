"""The launcher's regular checks: each at its interval, and never the end of the launcher."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.flink.checks import EXPIRY_S, ROWS_S, RegularChecks
from deploy.flink.rest import JobState
from operators.connectors.memory.catalog import MemoryProgress
from operators.connectors.memory.stores import Outage
from pipelines.jobs import CATALOG, STUDY
from pipelines.launch import losses
from pipelines.launch.rows import BEHIND_S, Servers
from schemas.settings.jobs import JobSettings
from schemas.telemetry import DEAD_LETTERS
from tests.unit.pipelines.launch.test_losses import Broker
from tests.unit.pipelines.launch.test_rows import PLACE, applied

RUNS = JobState("catalog", "RUNNING", is_running=True, failed_at_ms=0, failure="")
BEHIND = Servers(Broker(offsets={CATALOG.name: {PLACE: 12}}), applied(7))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    made = JobSettings(checkpoint_dir=tmp_path)
    losses.guard(Broker(), made)
    return made


def found_at(checks: RegularChecks, clock: Clock, state: JobState = RUNS) -> list[int]:
    """Let two minutes pass, a second at a time; return the seconds at which the rows were found behind."""
    found = []
    for second in range(120):
        clock.now = 1000.0 + second
        if checks.have_found_lost_rows([state]):
            found.append(second)
    return found


def test_rows_behind_a_job_that_runs_are_found_within_a_minute(settings: JobSettings) -> None:
    clock = Clock()
    found = found_at(RegularChecks(settings, BEHIND, clock), clock)

    assert BEHIND_S < found[0] <= BEHIND_S + 2 * ROWS_S


def test_rows_that_were_found_behind_are_found_again_only_after_as_long_a_time(settings: JobSettings) -> None:
    clock = Clock()
    first, *later = found_at(RegularChecks(settings, BEHIND, clock), clock)

    assert all(second - first > BEHIND_S for second in later)


def test_rows_behind_a_job_that_does_not_run_are_left_to_its_restart(settings: JobSettings) -> None:
    clock = Clock()

    assert found_at(RegularChecks(settings, BEHIND, clock), clock, replace(RUNS, is_running=False)) == []


def test_a_catalog_that_does_not_answer_is_asked_again_later(settings: JobSettings) -> None:
    clock = Clock()
    silent = Servers(BEHIND.broker, MemoryProgress(outage=Outage.REFUSES))
    with capture_logs() as logs:
        assert found_at(RegularChecks(settings, silent, clock), clock) == []
    assert {line["event"] for line in logs} == {"check_skipped"}


def test_lag_is_reported_once_a_minute(settings: JobSettings) -> None:
    clock = Clock()
    read = {PLACE: 7, ("transfer-ended", 0): 9, ("study-command", 0): 9}
    late = Servers(Broker(young=9, offsets={STUDY.name: read}), MemoryProgress())
    with capture_logs() as logs:
        found_at(RegularChecks(settings, late, clock), clock)

    assert EXPIRY_S == 60
    assert [line["event"] for line in logs] == ["job_lag_alarm"]


def counted() -> list[float]:
    """Return what is served of the dead letters."""
    return [sample.value for metric in DEAD_LETTERS.collect() for sample in metric.samples]


def test_dead_letters_are_counted_and_new_ones_are_logged_once(settings: JobSettings) -> None:
    clock, broker = Clock(), Broker()
    checks = RegularChecks(settings, Servers(broker, MemoryProgress()), clock)
    DEAD_LETTERS.clear()
    at_first = counted()
    checks.have_found_lost_rows([])
    before = counted()
    broker.end += 3
    with capture_logs() as logs:
        found_at(checks, clock)

    # No 0 at first, at which the alert would see all that came before the launcher's start.
    assert (at_first, before, counted()) == ([], [20], [23])
    assert [line for line in logs if line["event"] == "records_rejected"] == [
        {
            "event": "records_rejected",
            "log_level": "warning",
            "dead_letters": 3,
            "do": "python -m deploy.commands dead-letters list",
        }
    ]
