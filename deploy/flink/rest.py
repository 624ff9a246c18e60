"""What a Flink cluster says of its jobs, by its REST API."""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

BOUND_S = 5.0
WORDS = 300
OURS = ("schemas.", "operators.", "pipelines.")
ENDED = ("FAILED", "CANCELED", "FINISHED", "SUSPENDED")


@dataclass(frozen=True)
class JobState:
    """A job now: its state, whether all its tasks run, its last failure (Unix ms, text), if it had one."""

    name: str
    state: str
    runs: bool
    failed_at_ms: int
    failure: str

    @property
    def ended(self) -> bool:
        """True if it will do nothing more."""
        return self.state in ENDED


class Rest:
    """The REST API of one cluster."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    def job(self, job_id: str) -> JobState:
        """Look at a job; raises OSError when the cluster does not answer."""
        job = self._get(f"/jobs/{job_id}")
        tasks = [vertex["status"] for vertex in job["vertices"]]
        failed_at_ms, failure = self._failure(job_id)
        runs = job["state"] == "RUNNING" and bool(tasks) and set(tasks) == {"RUNNING"}
        return JobState(job["name"], job["state"], runs, failed_at_ms, failure)

    def _failure(self, job_id: str) -> tuple[int, str]:
        history = self._get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        if not history:
            return 0, ""
        last = max(history, key=lambda entry: int(entry["timestamp"]))
        return int(last["timestamp"]), last["stacktrace"]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._root}{path}", timeout=BOUND_S) as answer:  # noqa: S310 - our own address
            return json.load(answer)


def causes(stacktrace: str) -> str:
    """Return the kinds of error in a stack trace, outermost first; what is said in them only where the words are ours.

    Another library's words may quote a record.
    """
    return " <- ".join(dict.fromkeys(_told(line.strip()) for line in stacktrace.splitlines() if _names_error(line)))


def _names_error(line: str) -> bool:
    return re.match(r"(Caused by: )?[A-Za-z_][\w$]*(\.[\w$]+)+(:|$)", line) is not None


def _told(line: str) -> str:
    # Embedded Python says: pemja.core.PythonException: <class 'schemas.codec.UnknownSchema'>: its words
    line = re.sub(r"^(Caused by: )?(pemja\.core\.PythonException: <class '([\w.]+)'>)?", r"\3", line)
    kind = line.split(":", 1)[0]
    return line[:WORDS] if kind.startswith(OURS) else kind
