"""A job's stack trace is logged as classes of errors, without messages that may quote a record."""

import socket
import threading

import pytest
from structlog.testing import capture_logs

from deploy.flink.rest import PATIENCE_S, JobState, PatientRest, Rest, causes
from operators.stream.step import Stop

TRACE = """java.lang.RuntimeException: outer MUELLER^HANS
\tat org.apache.flink.Task.run(Task.java:569)
Caused by: java.lang.RuntimeException: Error from the worker: Traceback (most recent call last):
  File "x.py", line 1, in flush
psycopg.errors.DataException: value MUELLER^HANS
schemas.codec.UnknownSchema: no schema with fingerprint 00
"""


def test_a_failure_is_described_by_classes_of_errors_and_only_our_own_messages() -> None:
    described = causes(TRACE)

    assert described.endswith(
        "psycopg.errors.DataException <- schemas.codec.UnknownSchema: no schema with fingerprint 00"
    )
    assert "MUELLER" not in described


def test_a_failure_of_embedded_python_is_described_by_its_own_class() -> None:
    trace = "pemja.core.PythonException: <class 'schemas.codec.UnknownSchema'>: no schema\n\tat x.steps(steps.py:1)"

    assert causes(trace) == "schemas.codec.UnknownSchema: no schema"


@pytest.mark.parametrize("package", ["org.apache", "org.apache.flink.kafka.shaded.org.apache"])
def test_a_refusal_of_the_broker_is_described_with_the_topic_that_it_names(package: str) -> None:
    kind = f"{package}.kafka.common.errors.TopicAuthorizationException"
    line = f"{kind}: Not authorized to access topics: [study-due]"

    assert causes(f"java.io.IOException: x\n\tat a.b(C.java:1)\nCaused by: {line}") == f"java.io.IOException <- {line}"


STOPPED = """java.io.IOException: Could not perform checkpoint 7 for operator catalog batches (1/1)#0.
\tat org.apache.flink.Task.run(Task.java:569)
Caused by: org.apache.flink.runtime.execution.SuppressRestartsException: Unrecoverable failure.
\t... 7 more
Caused by: fluoro.KafkaRecords$JobStopped: too-many-rejected: 3 records in a row were rejected: at offsets x/1 0-2
\tat fluoro.KafkaRecords$Stopper.snapshotState(KafkaRecords.java:170)
"""


@pytest.mark.parametrize(
    ("state", "failure", "stop"),
    [
        ("FAILED", STOPPED, Stop("too-many-rejected", "3 records in a row were rejected: at offsets x/1 0-2")),
        ("RUNNING", STOPPED, None),
        ("FAILED", TRACE, None),
        ("FAILED", "", None),
    ],
    ids=["stopped", "an earlier run's", "another failure", "no failure"],
)
def test_the_stop_of_a_job_is_read_from_its_failure(state: str, failure: str, stop: Stop | None) -> None:
    assert JobState("catalog", state, is_running=False, failed_at_ms=1, failure=failure).stop == stop


def test_the_reason_of_a_stop_is_described() -> None:
    assert causes(STOPPED).endswith("too-many-rejected: 3 records in a row were rejected: at offsets x/1 0-2")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n{"]
)
def test_an_answer_that_breaks_off_is_an_error_of_the_connection(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_once() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        serving = threading.Thread(target=answer_once)
        serving.start()
        with pytest.raises(OSError):  # noqa: PT011 - any of its kinds ends the launcher with a line
            Rest(listening.getsockname()[1]).job("7")
        serving.join()


class Silence:
    """A clock, and a port on loopback at which nothing listens."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.now = 0.0

    def clock(self) -> float:
        return self.now


def test_a_cluster_that_does_not_answer_for_a_while_is_no_error_and_is_said_once() -> None:
    silence = Silence()
    rest = PatientRest(silence.port, silence.clock)
    with capture_logs() as logs:
        for silence.now in (0.0, 1.0, PATIENCE_S - 1):
            assert rest.jobs(["first"]) is None

    assert [line["event"] for line in logs] == ["flink_silent"]


def test_a_lasting_silence_of_a_cluster_is_an_error() -> None:
    silence = Silence()
    rest = PatientRest(silence.port, silence.clock)
    rest.jobs(["first"])
    silence.now = PATIENCE_S

    with pytest.raises(OSError, match="refused"):
        rest.jobs(["first"])


def test_patience_begins_anew_after_an_answer() -> None:
    silence = Silence()
    rest = PatientRest(silence.port, silence.clock)
    rest.jobs(["first"])
    silence.now = PATIENCE_S
    assert rest.jobs([]) == []

    assert rest.jobs(["first"]) is None
