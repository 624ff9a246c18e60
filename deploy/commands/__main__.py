"""Commands for the operators of an archive.

    python -m deploy.commands GROUP COMMAND [--help]

They read the settings of the environment (FLUORO_*, see .env.example), as every
process does; where it names no server, they work on the local stack that runs on
this machine, and say so. Exit status: 0 done, 1 not done, 2 for wrong arguments
or settings.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

from deploy.commands import conflicts, quarantine
from deploy.commands.problems import run

GROUPS = (quarantine.GROUP, conflicts.GROUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, or list all commands when there are none; return the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    return run(lambda: options.run(options))


def make_parser() -> ArgumentParser:
    """Return the parser of all groups and their commands."""
    program = "python -m deploy.commands"
    lines = (
        f"  {group.name} {one.name:<{20 - len(group.name)}}{one.summary}" for group in GROUPS for one in group.commands
    )
    parser = ArgumentParser(
        prog=program,
        description=__doc__,
        epilog="\n".join(["commands:", *lines]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    groups = parser.add_subparsers(metavar="GROUP", help="a group of commands, with its own --help")
    for group in GROUPS:
        about = groups.add_parser(group.name, description=group.about, formatter_class=RawDescriptionHelpFormatter)
        commands = about.add_subparsers(required=True, metavar="COMMAND")
        for one in group.commands:
            command = commands.add_parser(one.name, help=one.summary, description=one.summary)
            one.add_arguments(command)
            command.set_defaults(run=one.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
