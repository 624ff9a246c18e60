"""Say what a load needs, by what the archive's parts cost on one machine: `python -m deploy.sizing --studies 2000`.

Prints the tables of docs/sizing.md for a load of your own: cores, shards, disks, and half an hour of it simulated.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from deploy.sizing import page
from deploy.sizing.load import Load

USUAL = Load()
MOST = 1e9


def number(least: float) -> Callable[[str], float]:
    """Return a function that reads a number of at least `least`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value < MOST:
            raise argparse.ArgumentTypeError(f"{text!r} should be a number, at least {least:g}")
        return value

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a load needs; exit status 0."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.sizing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted = {
        "--studies": (USUAL.studies_a_day, number(1), "studies a day"),
        "--instances": (USUAL.instances, number(1), "instances in a study, on average"),
        "--megabytes": (USUAL.megabytes, number(0.01), "megabytes of a study, on average"),
        "--burst": (USUAL.burst, number(1), "the rate of a burst, by the day's mean"),
        "--viewers": (USUAL.viewers, number(0), "viewers that read at the same time"),
        "--viewer-mbit": (USUAL.viewer_mbit_per_s, number(0.1), "Mbit/s that each of them reads"),
    }
    for option, (default, read, meaning) in wanted.items():
        parser.add_argument(option, type=read, default=default, help=f"{meaning}; {default:g} if not given")
    given = parser.parse_args(arguments)
    load = Load(given.studies, given.instances, given.megabytes, given.burst, given.viewers, given.viewer_mbit)
    for part in (page.load_table, page.cores_table, page.disks_table, page.reading_table, page.simulated_table):
        print(part(load), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
