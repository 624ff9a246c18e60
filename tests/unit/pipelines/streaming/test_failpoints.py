"""A job's process kills itself once at the point that a test's file names, and the process in its place goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.streaming.failpoints import POINTS

PROGRAM = """
import sys
from operators.connectors.memory.catalog import MemoryCatalog
from operators.stream.origin import Origin
from pipelines.streaming.failpoints import with_failpoints
with_failpoints(MemoryCatalog(), Origin(), sys.argv[1])(0, None, (), 0.0)
print("flushed")
"""


def run(failpoint_file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(failpoint_file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("point", POINTS)
def test_a_process_dies_once_at_the_point_that_the_file_names(tmp_path: Path, point: str) -> None:
    failpoint = tmp_path / "failpoint"
    failpoint.write_text(point)

    first, second = run(failpoint), run(failpoint)

    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    assert (second.returncode, second.stdout) == (0, "flushed\n"), second.stderr
