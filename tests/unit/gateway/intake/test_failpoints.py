"""At the point that a test names, and the time that it names, the process kills itself; without one it never does."""

import signal
import subprocess
import sys

import pytest

from gateway.intake.failpoints import armed, pass_by

# Four instances on their way through the write path.
POINTS = ["after_put", "after_event"] * 4
PROGRAM = """
import sys
from gateway.intake.failpoints import armed
reached = armed(sys.argv[1])
for point in sys.argv[2:]:
    reached(point)
    print(point, flush=True)
"""


@pytest.mark.parametrize(
    ("failpoint", "passed"),
    [("after_put", 0), ("after_put:1", 0), ("after_event", 1), ("after_put:3", 4), ("after_event:4", 7)],
)
def test_a_process_is_killed_when_it_reaches_its_failpoint_for_that_time(failpoint: str, passed: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, failpoint, *POINTS], capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.splitlines() == POINTS[:passed]


@pytest.mark.parametrize("failpoint", ["", "mid_transfer_end", "after_put:5"])
def test_a_process_that_never_reaches_its_failpoint_goes_on(failpoint: str) -> None:
    reached = armed(failpoint)

    assert [reached(point) for point in POINTS] == [None] * len(POINTS)


def test_without_a_failpoint_every_point_is_passed_by() -> None:
    assert armed("") is pass_by
