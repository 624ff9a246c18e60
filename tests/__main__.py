"""Run all tests, or those at these paths and the laws beside them: `python -m tests [PATH...]`.

What needs no stack computes most of its time, and the other tests wait for servers most of theirs. So the former run
beside the latter, at a lower priority: the bounds of the laws are of CPU time. Exit status 0 when both groups have
passed. What pytest prints of the group beside comes last.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LAWS = "tests/laws"
WITHOUT_STACK = (
    "tests/unit",
    "tests/audit",
    "tests/support",
    "tests/integration/gateway",
    "tests/integration/web/test_process.py",
    "tests/fuzz",
    "tests/bench",
    LAWS,
)
PYTEST = (sys.executable, "-m", "pytest")
# A third of the share of a server where both want the processor; at 19 a busy machine gave them a thirtieth of it.
NICENESS = 5


def run(paths: Sequence[str], beside: Sequence[str], niceness: int = NICENESS) -> int:
    """Run both groups, each test once; return the status of the tests at `paths`, or of those beside when these have passed.

    No path means every test that is not beside.
    """
    with tempfile.TemporaryFile() as printed:
        others = subprocess.Popen(
            # pytest's memory of failures is that of the tests at `paths`.
            ["nice", f"-n{niceness}", *PYTEST, "-p", "no:cacheprovider", *beside],
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        first = subprocess.Popen([*PYTEST, *(f"--ignore={path}" for path in beside), *paths])
        with passed_on((first, others)):
            statuses = [first.wait(), others.wait()]
        printed.seek(0)
        os.write(sys.stdout.fileno(), printed.read())
    return next((status for status in statuses if status), 0)


@contextmanager
def passed_on(groups: Sequence["subprocess.Popen[bytes]"]) -> Iterator[None]:
    """For the block, have both groups end when this process is asked to; they stop their servers before they end."""

    def end(*_: object) -> None:
        for group in groups:
            group.terminate()

    # Ctrl-C reaches the groups by itself.
    before = signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


if __name__ == "__main__":
    chosen = sys.argv[1:]
    sys.exit(run(chosen, (LAWS,) if chosen else WITHOUT_STACK))
