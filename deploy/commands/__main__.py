"""Commands for the operators of an archive.

    python -m deploy.commands [GROUP] COMMAND [--help]

They read their settings from the environment (FLUORO_*, see .env.example). If the
environment names no server, they use the local stack that runs on this machine,
and print a line about it. Exit status: 0 done, 1 not done, 2 for wrong arguments
or settings.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator, Sequence

from deploy.commands import conflicts, dead_letters, jobs, topics, transfers
from deploy.commands.command import CommandGroup, OperatorCommand
from deploy.commands.policies import group as policies
from deploy.commands.problems import run
from deploy.commands.quarantine import group as quarantine
from deploy.commands.studies import group as studies
from schemas.telemetry import set_up_logs

# All groups of commands, and the commands that need no group.
COMMANDS: tuple[CommandGroup | OperatorCommand, ...] = (
    studies.GROUP,
    policies.GROUP,
    quarantine.GROUP,
    conflicts.GROUP,
    jobs.GROUP,
    dead_letters.GROUP,
    topics.GROUP,
    transfers.COMMAND,
)
NAME_WIDTH = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, or list all commands when there are none; return the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    return run(lambda: options.run(options))


def make_parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = ArgumentParser(
        prog="python -m deploy.commands",
        description=__doc__,
        epilog="\n".join(["commands:", *(f"  {name:<{NAME_WIDTH}} {does}" for name, does in listing())]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(metavar="COMMAND", help="a command, or a group of commands, with its own --help")
    for each in COMMANDS:
        if isinstance(each, OperatorCommand):
            _add(own, each)
            continue
        group = own.add_parser(each.name, description=each.about, formatter_class=RawDescriptionHelpFormatter)
        commands = group.add_subparsers(required=True, metavar="COMMAND")
        for command in each.commands:
            _add(commands, command)
    return parser


def listing() -> Iterator[tuple[str, str]]:
    """Yield the words that call each command, and a line about what it does."""
    for each in COMMANDS:
        if isinstance(each, OperatorCommand):
            yield each.name, each.summary
        else:
            yield from ((f"{each.name} {command.name}", command.summary) for command in each.commands)


def _add(parsers: "_SubParsersAction[ArgumentParser]", command: OperatorCommand) -> None:
    about = command.about or command.summary
    parser = parsers.add_parser(
        command.name, help=command.summary, description=about, formatter_class=RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


if __name__ == "__main__":
    # Standard output is for programs that read --json. What a command prints says what these lines say, too.
    set_up_logs("commands", without=["broker_client_error", "command_given", "policy_put"])
    sys.exit(main())
