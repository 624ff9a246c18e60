"""What the launcher checks while its jobs run: rows that went back, and records that are about to expire unread."""

import time
from collections.abc import Callable, Iterable

import structlog

from deploy.flink.rest import JobState
from operators.errors import Unavailable
from pipelines.jobs import CATALOG, JOBS
from pipelines.launch import expiry, rows
from pipelines.launch.rows import Servers, Suspicion
from schemas.settings.jobs import JobSettings

ROWS_S = 10.0
EXPIRY_S = 60.0

log = structlog.get_logger()


class RegularChecks:
    """The checks of one launcher, each at its own interval; a server that does not answer is asked the next time."""

    def __init__(self, settings: JobSettings, servers: Servers, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._servers = servers
        self._clock = clock
        self._rows_at = self._expiry_at = clock()
        self._suspected: Suspicion | None = None

    def have_found_lost_rows(self, states: Iterable[JobState]) -> bool:
        """Do the checks that are due; True if the catalog's rows are behind what its job, which runs, has read."""
        try:
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
