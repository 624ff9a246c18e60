"""Follow a study through the archive: `python -m deploy.demo [--once] [--study FOLDER]`.

Uses the stack that runs, or starts one; sends the folder, or a CT that it
makes, with pynetdicom's storescu; checks each step and prints a line about it.
One image comes late and makes revision 2. At the end the study is deleted and
restored, and its history is printed.
With --once it ends after the last step, with status 0 only when every step
succeeded.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.demo.demonstration import demonstrate
from deploy.errors import Failed


def interrupt(*_: object) -> None:
    """End on TERM as on Ctrl-C, also where the shell has made the process ignore Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit status 0 when every step succeeded, 1 with the problem in a line, 130 stopped before the end."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end after the last step")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="send these DICOM files")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        demonstrate(options.study, stay_up=not options.once)
    except Failed as failure:
        print(f"The demo failed: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130 if options.once else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
