"""Compares results with earlier ones, by ratios and CPU: `python -m tests.bench.check NEW [--before FILE]`.

Without --before, the earlier ones are the latest of each section in tests/bench/results. Exit status 1 when a figure is worse by more
than a quarter, or when work is missing that was measured before; 2 when there is nothing to compare with.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.report.comparison import changes, missing
from tests.bench.report.results import Results, latest

RESULTS = Path(__file__).parent / "results"


def read(path: Path) -> Results:
    """Return the results in a file."""
    return Results.read(path.read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare from the command line; return the exit status."""
    wanted = argparse.ArgumentParser(prog="python -m tests.bench.check", description=__doc__)
    wanted.add_argument("new", type=Path, help="results, as --json of python -m tests.bench writes them")
    wanted.add_argument("--before", type=Path, help="the results to compare with")
    given = wanted.parse_args(arguments)
    try:
        now = read(given.new)
        before = read(given.before) if given.before else latest(RESULTS)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if before is None:
        sys.stderr.write(f"no results in {RESULTS}\n")
        return 2
    found, absent = list(changes(before, now)), missing(before, now)
    sys.stdout.write(
        "".join(f"{change}\n" for change in found) + "".join(f"WORSE {work}: not measured\n" for work in absent)
    )
    return 1 if absent or any(change.is_worse for change in found) else 0


if __name__ == "__main__":
    sys.exit(main())
