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
from collections.abc import Sequence

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
        try:
            ignored = [f"--ignore={path}" for path in beside]
            first = subprocess.run([*PYTEST, *ignored, *paths], check=False).returncode
            of_others = others.wait()
        finally:
            others.kill()
        printed.seek(0)
        os.write(sys.stdout.fileno(), printed.read())
    return first or of_others


if __name__ == "__main__":
    # As after Ctrl-C, neither group is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = sys.argv[1:]
    sys.exit(run(chosen, (LAWS,) if chosen else WITHOUT_STACK))
