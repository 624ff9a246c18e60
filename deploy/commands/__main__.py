"""Commands for the operators of an archive.

    python -m deploy.commands GROUP COMMAND [--help]

They read their settings from the environment (FLUORO_*, see .env.example). If the
environment names no server, they use the local stack that runs on this machine,
and print a line about it. Exit status: 0 done, 1 not done, 2 for wrong arguments
or settings.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

from deploy.commands import conflicts, jobs, quarantine, topics
from deploy.commands.problems import run
from schemas.telemetry import set_up_logs

GROUPS = (quarantine.GROUP, conflicts.GROUP, jobs.GROUP, topics.GROUP)


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
        f"  {group.name} {command.name:<{20 - len(group.name)}}{command.summary}"
        for group in GROUPS
        for command in group.commands
    )
    parser = ArgumentParser(
        prog=program,
        description=__doc__,
        epilog="\n".join(["commands:", *lines]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    groups = parser.add_subparsers(metavar="GROUP", help="a group of commands, with its own --help")
    for group in GROUPS:
        group_parser = groups.add_parser(
            group.name, description=group.about, formatter_class=RawDescriptionHelpFormatter
        )
        commands = group_parser.add_subparsers(required=True, metavar="COMMAND")
        for command in group.commands:
            command_parser = commands.add_parser(command.name, help=command.summary, description=command.summary)
            command.add_arguments(command_parser)
            command_parser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    # Standard output is for programs that read --json.
    set_up_logs("commands")
    sys.exit(main())
