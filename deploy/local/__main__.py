"""The whole stack on this machine: `python -m deploy.local up|status|stop|run|clean-data`.

It stays up until Ctrl-C, restarts every server that dies, and keeps its data
in one folder (FLUORO_DATA, else .data in the repository). Settings are
FLUORO_* variables of the environment; .env.example lists them.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from deploy.errors import Failed
from deploy.local import commands
from deploy.local.up import up
from schemas.settings.reading import SettingsError

COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], None]]] = {
    "up": (
        "start everything, stay up until Ctrl-C",
        lambda options: up(free_ports=options.free_ports, with_jobs=not options.without_jobs),
    ),
    "status": ("print which servers run, and their addresses", lambda _: commands.status()),
    "stop": ("stop the stack that runs", lambda _: commands.stop()),
    "run": ("run a command with the settings of the stack that runs", lambda options: commands.run(options.of)),
    "clean-data": ("delete everything that the stack has stored", lambda _: commands.clean_data()),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit status 0 when all is well, 1 with the problem on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, (summary, _) in COMMANDS.items():
        subparsers.add_parser(name, help=summary)
    subparsers.choices["up"].add_argument("--free-ports", action="store_true", help="choose free ports, for tests")
    without = "leave the Flink jobs to a cluster of your own"
    subparsers.choices["up"].add_argument("--without-jobs", action="store_true", help=without)
    subparsers.choices["run"].add_argument("of", nargs=argparse.REMAINDER, metavar="COMMAND", help="and its arguments")
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command][1](options)
    except (Failed, SettingsError) as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
