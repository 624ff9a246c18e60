"""What the launcher checks while its jobs run.

Rows that went back, records that are about to expire unread, and records that were rejected.
"""

import time
from collections.abc import Callable, Iterable

import structlog

from deploy.flink.rest import JobState
from operators.errors import Unavailable
from pipelines.jobs import CATALOG, JOBS
from pipelines.launch import expiry, rows
from pipelines.launch.losses import BrokerPositions
from pipelines.launch.rows import Servers, Suspicion
from schemas.settings.jobs import JobSettings
from schemas.telemetry import DEAD_LETTERS
from schemas.topics import RECORD_REJECTED

ROWS_S = 10.0
EXPIRY_S = 60.0
LETTERS_S = 30.0
SEE_LETTERS = "python -m deploy.commands dead-letters list"

log = structlog.get_logger()


class RegularChecks:
    """The checks of one launcher, each at its own interval; a server that does not answer is asked the next time."""

    def __init__(self, settings: JobSettings, servers: Servers, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._servers = servers
        self._clock = clock
        self._rows_at = self._expiry_at = clock()
        # At once: what comes later is compared with it.
        self._letters_at = self._rows_at - LETTERS_S
        self._letters: int | None = None
        self._suspected: Suspicion | None = None

    def have_found_lost_rows(self, states: Iterable[JobState]) -> bool:
        """Do the checks that are due; True if the catalog's rows are behind what its job, which runs, has read."""
        try:
            self._count_dead_letters()
            self._report_expiry()
            return self._has_lost_rows(states)
        except Unavailable as error:
            self._suspected = None
            log.warning("check_skipped", error=str(error))
            return False

    def _has_lost_rows(self, states: Iterable[JobState]) -> bool:
        now = self._clock()
        if not any(state.name == CATALOG.name and state.is_running for state in states):
            self._suspected = None
        elif now - self._rows_at >= ROWS_S:
            self._rows_at = now
            self._suspected = rows.suspicion(self._suspected, self._settings, self._servers, now)
        is_certain = rows.is_certain(self._suspected, self._settings, now)
        if is_certain:
            # The job begins again: what it has done before is no reason to begin it once more.
            self._suspected = None
        return is_certain

    def _report_expiry(self) -> None:
        now = self._clock()
        if now - self._expiry_at >= EXPIRY_S:
            self._expiry_at = now
            expiry.report_lag(self._servers.broker, JOBS, int(time.time() * 1000))
            expiry.report_waiting(self._servers, self._settings)

    def _count_dead_letters(self) -> None:
        """Set the metric of dead letters, and log how many have come since the last time."""
        now = self._clock()
        if now - self._letters_at < LETTERS_S:
            return
        self._letters_at = now
        before, self._letters = self._letters, written(self._servers.broker)
        DEAD_LETTERS.labels(RECORD_REJECTED.name).set(self._letters)
        if before is not None and self._letters > before:
            log.warning("records_rejected", dead_letters=self._letters - before, do=SEE_LETTERS)


def written(broker: BrokerPositions) -> int:
    """Return how many dead letters were ever written. Raises Unavailable."""
    return sum(extent.end for extent in broker.extents([RECORD_REJECTED.name]).values())
