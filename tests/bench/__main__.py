"""The benchmarks of the doors on a stack of their own: `python -m tests.bench`.

The first ingest warms the JVMs up, the second one is the figure. Exit status 0 when everything was stored, counted and
audited, was queryable in time, and neither many senders nor hostile ones slowed the others down; 130 when stopped.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.running import brought_up, end
from tests.support.machine.running_stack import end_on_term

STOP_S = 5.0
RUNS = (
    ("tests.bench.ingest",),
    ("tests.bench.ingest",),
    ("tests.bench.latency", "--size", "512"),
    ("tests.bench.many_senders",),
    ("tests.bench.hostile",),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks one after the other; return the exit status."""
    argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    end_on_term()
    try:
        return run_all()
    except KeyboardInterrupt:
        return 130


def run_all() -> int:
    """Run the benchmarks on a stack that is started and stopped here, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fluoro-bench-") as name:
        folder = Path(name)
        # The database runs as another user, who must be able to enter.
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        try:
            with brought_up(DataFolder(folder / "data"), os.environ, options=["--free-ports"], out=folder / "up.log"):
                done = [run(*module, folder=folder) for module in RUNS]
        except Failed as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
    return max(done)


def run(*module: str, folder: Path) -> int:
    """Run one benchmark on the stack in this folder, which also holds its files; return its exit status."""
    sys.stdout.write(f"\n{' '.join(module)}\n")
    sys.stdout.flush()
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    process = subprocess.Popen([sys.executable, "-m", *module, "--data", folder / "data"], env=environment)
    try:
        return process.wait()
    finally:
        end(process, STOP_S)


if __name__ == "__main__":
    sys.exit(main())
