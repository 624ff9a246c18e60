"""What the launcher makes of where groups stand, and of Flink's stack traces."""

import pytest

from deploy.flink.rest import causes
from operators.connectors.kafka.positions import Extent
from pipelines.launch.positions import out_of_range

EXTENTS = {("instance-stored", 0): Extent(10, 20)}


@pytest.mark.parametrize(("offset", "lost"), [(9, 0), (10, 0), (20, 0), (21, 1)])
def test_an_offset_above_what_the_broker_has_is_a_loss(offset: int, lost: int) -> None:
    assert len(out_of_range({("instance-stored", 0): offset}, EXTENTS)) == lost


def test_a_topic_that_is_no_longer_read_is_no_loss() -> None:
    assert out_of_range({("other", 0): 99}, EXTENTS) == []


TRACE = """java.lang.RuntimeException: outer MUELLER^HANS
\tat org.apache.flink.Task.run(Task.java:569)
Caused by: java.lang.RuntimeException: Error from the worker: Traceback (most recent call last):
  File "x.py", line 1, in flush
psycopg.errors.DataException: value MUELLER^HANS
schemas.codec.UnknownSchema: no schema with fingerprint 00
"""


def test_a_failure_is_told_by_its_kinds_and_by_our_own_words_alone() -> None:
    told = causes(TRACE)

    assert told.endswith("psycopg.errors.DataException <- schemas.codec.UnknownSchema: no schema with fingerprint 00")
    assert "MUELLER" not in told


def test_a_failure_of_embedded_python_is_told_by_its_own_kind() -> None:
    trace = "pemja.core.PythonException: <class 'schemas.codec.UnknownSchema'>: no schema\n\tat x.steps(steps.py:1)"

    assert causes(trace) == "schemas.codec.UnknownSchema: no schema"
