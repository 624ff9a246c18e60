"""Coverage-guided fuzzing of every parser that reads bytes from the network.

    python -m tests.fuzz TARGET [--seconds 300] [--found FOLDER]

Runs in a child process with limits on memory and on the time of an input. Exit status 1 when there is a finding; its
input is then in FOLDER. An input that is worth keeping becomes a file in tests/fuzz/corpus/TARGET, which every test run
reads.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.fuzz.targets import TARGETS, former_findings
from tests.support.machine.arguments import count

INPUT_S = 30
CHILD_MB = 512
INPUT_BYTES = 8192


def fuzz(name: str, seconds: int, found: Path) -> int:
    """Fuzz one target; return 0 when nothing was found."""
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fluoro-fuzz-") as folder:
        for seed in (*TARGETS[name].seeds(), *former_findings(name)):
            (Path(folder) / sha256(seed).hexdigest()).write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.child", name, folder]
        limits = [f"-timeout={INPUT_S}", f"-rss_limit_mb={CHILD_MB}", f"-max_len={INPUT_BYTES}"]
        length = [f"-max_total_time={seconds}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        done = subprocess.run(
            [*command, *limits, *length], check=False, capture_output=True, text=True, timeout=seconds + 4 * INPUT_S
        )
    sys.stdout.write(f"{name}: {report(done.stderr) if done.returncode == 0 else done.stdout + done.stderr}\n")
    return done.returncode


def report(output: str) -> str:
    """Return the figures in libFuzzer's output: coverage, executions, the slowest input, the memory."""
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)[-1:]
    figures = re.findall(r"stat::(\w+):\s+(\d+)", output)
    return ", ".join(
        [
            *(f"edges {cov}, features {ft}, corpus {inputs}" for cov, ft, inputs in covered),
            *(f"{name} {figure}" for name, figure in figures),
        ]
    )


def main() -> int:
    """Fuzz from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted.add_argument("target", choices=sorted(TARGETS))
    wanted.add_argument("--seconds", type=count(1), default=300)
    wanted.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "fluoro-found")
    given = wanted.parse_args()
    return 1 if fuzz(given.target, given.seconds, given.found / given.target) else 0


if __name__ == "__main__":
    sys.exit(main())
