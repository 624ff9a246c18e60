"""The form of a command, and the arguments that several commands take."""

import os
import pwd
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway.asking import WHO_CHARACTERS, WHY_CHARACTERS, is_line
from gateway.commands.request import is_uuid
from pipelines.batch.selection import tenant_name
from schemas.objects import DATA_HASH

DEFAULT_MOST, HIGHEST_MOST = 1000, 1_000_000


@dataclass(frozen=True)
class OperatorCommand:
    """A command of a group, such as `list` of `quarantine`, or one of its own, such as `transfers`.

    The first line of `run`'s docstring says what it does; `about`, if given, is its longer help.
    """

    name: str
    run: Callable[[Namespace], None]
    add_arguments: Callable[[ArgumentParser], None]
    about: str = ""

    @property
    def summary(self) -> str:
        """Return a line about what the command does."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True)
class CommandGroup:
    """Commands about one subject, such as the quarantine; `about` is the help of the group."""

    name: str
    about: str
    commands: tuple[OperatorCommand, ...]


def add_list_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of every command that lists."""
    add_tenant(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each entry")
    latest = f"list at most this many, the latest first (default: {DEFAULT_MOST})"
    parser.add_argument("--most", type=list_length, default=DEFAULT_MOST, metavar="NUMBER", help=latest)


def add_tenant(parser: ArgumentParser) -> None:
    """Add the argument that names a tenant."""
    parser.add_argument("--tenant", type=tenant_name, help="only of this tenant (default: all tenants)")


def add_who_and_why(parser: ArgumentParser) -> None:
    """Add the arguments that say who decides something, and why."""
    why = f"the reason, in a line of at most {WHY_CHARACTERS} characters"
    parser.add_argument("--why", type=reason, required=True, metavar="REASON", help=why)
    who = "who asks for it (default: your name on this machine)"
    parser.add_argument("--who", type=asker, default=user_name(), metavar="NAME", help=who)


def reason(text: str) -> str:
    """Read a reason; raises ArgumentTypeError."""
    return _line(text, WHY_CHARACTERS)


def asker(text: str) -> str:
    """Read the name of somebody who asks; raises ArgumentTypeError."""
    return _line(text, WHO_CHARACTERS)


def user_name() -> str:
    """Return the name of the system's user whose process this is, or the number of a user without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _line(text: str, most: int) -> str:
    if not is_line(text, most):
        raise ArgumentTypeError(f"should be a line of 1 to {most} characters")
    return text


def list_length(text: str) -> int:
    """Read the length of a list; raises ArgumentTypeError."""
    with suppress(ValueError):
        if 0 < int(text) <= HIGHEST_MOST:
            return int(text)
    raise ArgumentTypeError(f"{text!r} should be a whole number from 1 to {HIGHEST_MOST}")


def command_id(text: str) -> str:
    """Read the id of a command; raises ArgumentTypeError."""
    if not is_uuid(text):
        raise ArgumentTypeError(f"{text!r} should be a UUID with small letters")
    return text


def data_hash(text: str) -> str:
    """Read a data hash; raises ArgumentTypeError."""
    if not DATA_HASH.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be a data hash: 64 of 0-9 and a-f")
    return text
