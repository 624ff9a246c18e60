"""The benchmarks of the doors on a stack of their own: `python -m tests.bench`.

The first ingest warms the JVMs up, the second one is the figure. Exit status 0 when everything was stored, counted and
audited, was queryable in time, and neither many senders nor hostile ones slowed the others down.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.places import Place
from deploy.running import brought_up
from deploy.steps import Failed

RUNS = (
    ("tests.bench.ingest",),
    ("tests.bench.ingest",),
    ("tests.bench.latency", "--size", "512"),
    ("tests.bench.many_senders",),
    ("tests.bench.hostile",),
)


def main() -> int:
    """Run them one after the other; gives the exit status."""
    with tempfile.TemporaryDirectory(prefix="fluoro-bench-") as name:
        folder = Path(name)
        # The database's user passes through.
        folder.chmod(0o755)
        try:
            with brought_up(Place(folder / "data"), os.environ, options=["--free-ports"], out=folder / "up.log"):
                done = [run(*module, data=folder / "data") for module in RUNS]
        except Failed as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
    return max(done)


def run(*module: str, data: Path) -> int:
    """Run one benchmark on the stack with this data folder; gives its exit status."""
    sys.stdout.write(f"\n{' '.join(module)}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", *module, "--data", data], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
