"""A server that answers as Flink's REST API does, about jobs that a test describes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class DescribedJob:
    """A job: its name, its state and since when (Unix ms), the states of its tasks, its restarts, its last failure."""

    name: str
    state: str = "RUNNING"
    since_ms: int = 0
    tasks: tuple[str, ...] = ("RUNNING", "RUNNING")
    restarts: int = 0
    failure: str = ""

    def answers(self, job_id: str) -> dict[str, Any]:
        """Return the answers about this job by path."""
        failures = [{"timestamp": self.since_ms, "stacktrace": self.failure}] if self.failure else []
        timestamps = {self.state: self.since_ms, "CREATED": 1}
        vertices = [{"status": status} for status in self.tasks]
        return {
            f"/jobs/{job_id}": {
                "name": self.name,
                "state": self.state,
                "timestamps": timestamps,
                "vertices": vertices,
            },
            f"/jobs/{job_id}/exceptions": {"exceptionHistory": {"entries": failures}},
            f"/jobs/{job_id}/metrics?get=numRestarts": [{"id": "numRestarts", "value": str(self.restarts)}],
        }

    def overview(self, job_id: str) -> dict[str, Any]:
        """Return this job's entry of the overview."""
        tasks = {"total": len(self.tasks), "running": self.tasks.count("RUNNING")}
        return {"jid": job_id, "name": self.name, "state": self.state, "start-time": self.since_ms, "tasks": tasks}


@contextmanager
def flink_rest(*jobs: DescribedJob) -> Iterator[int]:
    """Serve the REST API of a cluster with these jobs; yield its port."""
    named = {f"{number:032x}": job for number, job in enumerate(jobs)}
    answers: dict[str, Any] = {"/jobs/overview": {"jobs": [job.overview(job_id) for job_id, job in named.items()]}}
    for job_id, job in named.items():
        answers |= job.answers(job_id)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            body = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
