"""The state of a cluster's jobs, by Flink's REST API."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from operators.stream.step import Stop

log = structlog.get_logger()

ANSWER_S = 5.0
# As long as a machine may pause without anybody having to do something.
PATIENCE_S = 60.0
LINE_CHARACTERS = 300
OUR_PACKAGES = ("schemas.", "operators.", "pipelines.", "fluoro.")
# Kafka's errors for a wrong certificate, password or right, under whatever name a connector has its classes.
KAFKA_REFUSAL = re.compile(r"\.kafka\.common\.errors\.\w*(Authorization|Authentication)Exception$")
# The failure of a job that was stopped for good, with its stop as text.
STOPPED = re.compile(r"^Caused by: fluoro\.KafkaRecords\$JobStopped: (.+)$", re.MULTILINE)
ENDED = ("FAILED", "CANCELED", "FINISHED", "SUSPENDED")


@dataclass(frozen=True)
class JobState:
    """The present state of a job, whether all its tasks run, and its last failure (Unix ms, stack trace)."""

    name: str
    state: str
    is_running: bool
    failed_at_ms: int
    failure: str

    @property
    def has_ended(self) -> bool:
        """True if Flink will not start the job again."""
        return self.state in ENDED

    @property
    def stop(self) -> Stop | None:
        """Return the stop that has ended the job for good; None if the job goes on, or has ended by another cause."""
        found = STOPPED.search(self.failure) if self.state == "FAILED" else None
        return Stop.of(found[1]) if found else None


@dataclass(frozen=True)
class JobRun:
    """One run of a job, from its submission: its state and since when, and how often Flink has restarted it."""

    state: JobState
    since: datetime
    restarts: int


class Rest:
    """The REST API of one cluster."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    def job(self, job_id: str) -> JobState:
        """Return a job's state. Raises OSError when the cluster does not answer."""
        return self._state(job_id, self._get(f"/jobs/{job_id}"))

    def newest_runs(self) -> dict[str, JobRun]:
        """Return the newest run of each job, by the job's name. Raises OSError when the cluster does not answer."""
        entries = sorted(self._get("/jobs/overview")["jobs"], key=lambda entry: int(entry["start-time"]))
        newest = {str(entry["name"]): entry for entry in entries}
        return {name: self._run(entry) for name, entry in newest.items()}

    def _run(self, entry: Any) -> JobRun:
        job_id, tasks = entry["jid"], entry["tasks"]
        job = self._get(f"/jobs/{job_id}")
        is_running = entry["state"] == "RUNNING" and tasks["running"] == tasks["total"]
        # The overview is newer: the cluster keeps its answers about one job for three seconds.
        state = replace(self._state(job_id, job), state=entry["state"], is_running=is_running)
        since = datetime.fromtimestamp(job["timestamps"][entry["state"]] / 1000, UTC)
        metrics = self._get(f"/jobs/{job_id}/metrics?get=numRestarts")
        return JobRun(state, since, sum(int(metric["value"]) for metric in metrics))

    def _state(self, job_id: str, job: Any) -> JobState:
        tasks = [vertex["status"] for vertex in job["vertices"]]
        failed_at_ms, failure = self._failure(job_id)
        is_running = job["state"] == "RUNNING" and bool(tasks) and set(tasks) == {"RUNNING"}
        return JobState(job["name"], job["state"], is_running, failed_at_ms, failure)

    def _failure(self, job_id: str) -> tuple[int, str]:
        history = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        if not history:
            return 0, ""
        last = max(history, key=lambda entry: int(entry["timestamp"]))
        return int(last["timestamp"]), last["stacktrace"]

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._root}{path}", timeout=ANSWER_S) as answer:  # noqa: S310 - our own address
                return json.load(answer)
        except (http.client.HTTPException, ValueError) as error:
            # As when its JVM ends in the middle of an answer.
            raise ConnectionError(f"Flink's REST API broke off its answer: {type(error).__name__}") from error


class PatientRest:
    """The states of jobs, from a cluster that may be silent for a while, as in a pause of its machine.

    Only its lasting silence is an error: jobs that run must not end because one answer was late.
    """

    def __init__(self, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest = Rest(port)
        self._clock = clock
        self._silent_since: float | None = None

    def jobs(self, job_ids: Iterable[str]) -> list[JobState] | None:
        """Return the jobs' states, None if the cluster does not answer now. Raises OSError once that lasts PATIENCE_S."""
        try:
            states = [self._rest.job(job_id) for job_id in job_ids]
        except OSError as error:
            self._note_silence(error)
            return None
        self._silent_since = None
        return states

    def _note_silence(self, error: OSError) -> None:
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
            log.warning("flink_silent", error=type(error).__name__, reason=str(error))
        elif now - self._silent_since >= PATIENCE_S:
            raise error


def causes(stacktrace: str) -> str:
    """Return the classes of the errors in a stack trace, outermost first, and the messages of our own errors.

    Another library's message may quote a record. Those of Kafka's refusals name topics, groups and servers alone.
    """
    return " <- ".join(
        dict.fromkeys(_described(line.strip()) for line in stacktrace.splitlines() if _names_error(line))
    )


def _names_error(line: str) -> bool:
    return re.match(r"(Caused by: )?[A-Za-z_][\w$]*(\.[\w$]+)+(:|$)", line) is not None


def _described(line: str) -> str:
    # An error of embedded Python: pemja.core.PythonException: <class 'schemas.codec.UnknownSchema'>: its message
    line = re.sub(r"^(Caused by: )?(pemja\.core\.PythonException: <class '([\w.]+)'>)?", r"\3", line)
    kind = line.split(":", 1)[0]
    is_safe = kind.startswith(OUR_PACKAGES) or KAFKA_REFUSAL.search(kind)
    return line[:LINE_CHARACTERS] if is_safe else kind
