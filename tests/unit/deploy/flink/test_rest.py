"""A job's stack trace is logged as classes of errors, without messages that may quote a record."""

from deploy.flink.rest import causes

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
