"""Run the tests at these paths, or all, and the laws beside them: `python -m tests [PATH...]`.

The laws only compute, and their bounds are of CPU time: at a low priority they use what the other tests, most of which
wait for servers, leave of the processor. Exit status 0 when both have passed. What pytest prints of the laws comes last.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

LAWS = "tests/laws"
PYTEST = (sys.executable, "-m", "pytest")
# A tenth of the others' share where both want the processor; at 19 a busy machine gave them a thirtieth of it.
NICENESS = 10


def run(paths: Sequence[str], laws: str = LAWS, niceness: int = NICENESS) -> int:
    """Run both; return the exit status of the others, or of the laws where the others have passed."""
    with tempfile.TemporaryFile() as printed:
        beside = subprocess.Popen(
            # pytest's memory of failures is the others' file.
            ["nice", f"-n{niceness}", *PYTEST, "-p", "no:cacheprovider", laws],
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            others = subprocess.run([*PYTEST, f"--ignore={laws}", *paths], check=False).returncode
            of_laws = beside.wait()
        finally:
            beside.kill()
        printed.seek(0)
        os.write(sys.stdout.fileno(), printed.read())
    return others or of_laws


if __name__ == "__main__":
    # As after Ctrl-C, neither group is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(run(sys.argv[1:]))
