"""The study commands: what an operator asks to be done with one study. Each says why, and is kept for ever.

A command is stored beside its study first and published second, as an instance is; docs/commands.md says what each
does, and when. One that may have to be given again should have an id: the same id does nothing twice. `history` gives no
command: it prints what has happened to the study (docs/history.md).
"""

import asyncio
from argparse import ArgumentParser, Namespace
from uuid import uuid4

from deploy.commands.command import (
    CommandGroup,
    OperatorCommand,
    add_who_and_why,
    command_id,
    data_hash,
)
from deploy.commands.output import as_json, print_line
from deploy.commands.sections import PublishingSections, load_sections
from deploy.commands.studies.giving import give
from deploy.commands.studies.history import HISTORY
from gateway.commands.answer import answer
from gateway.commands.giving import GivenCommand
from gateway.commands.request import CommandRequest
from pipelines.batch.selection import tenant_name


def settle(options: Namespace) -> None:
    """Settle a study as it is: no more instances are expected now."""
    carry_out("settle", options)


def expect(options: Namespace) -> None:
    """Expect so many instances to come for a study: it is settled as soon as they are here."""
    carry_out("expect", options)


def delete(options: Namespace) -> None:
    """Hide a study, and what arrives for it later; no object is removed."""
    carry_out("delete", options)


def restore(options: Namespace) -> None:
    """Show a deleted study again, with what has arrived meanwhile."""
    carry_out("restore", options)


def hold(options: Namespace) -> None:
    """Keep a study from being moved or erased."""
    carry_out("hold", options)


def unhold(options: Namespace) -> None:
    """End the hold of a study."""
    carry_out("unhold", options)


def choose(options: Namespace) -> None:
    """Show this content of an instance in place of the one that is shown; `conflicts show` names both."""
    carry_out("choose", options)


def reprocess(options: Namespace) -> None:
    """Announce the last revision of a study once more."""
    carry_out("reprocess", options)


def carry_out(action: str, options: Namespace) -> None:
    """Store and publish a command, and print what became of it."""
    sections = load_sections(PublishingSections)
    request = request_of(action, options, sections.api.tenant)
    given = asyncio.run(give(sections, request))
    print_line(as_json(answer(given)) if options.json else told(given))


def request_of(action: str, options: Namespace, tenant: str) -> CommandRequest:
    """Return the request of the arguments, with a new id if they name none; `tenant` is meant where they name none."""
    return CommandRequest(
        tenant=options.tenant or tenant,
        study_uid=options.study,
        action=action,
        who=options.who,
        why=options.why,
        command_id=options.id or str(uuid4()),
        count=getattr(options, "count", None),
        instance=getattr(options, "instance", None),
        content=getattr(options, "content", None),
    )


def told(given: GivenCommand) -> str:
    """Return a line about what became of a command; no patient data."""
    command = given.command
    what = "was given before, and is published again" if given.is_repeat else "is stored and published"
    line = f"{command.action} {what}: study {command.study_uid}, id {command.event_id}"
    return f"{line}. Note: {given.note}" if given.note else line


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="a Study Instance UID")
    add_who_and_why(parser)
    parser.add_argument(
        "--id",
        type=command_id,
        metavar="UUID",
        help="the command's id; the same id again is a repeat (default: a new one)",
    )
    parser.add_argument("--tenant", type=tenant_name, help="the study's tenant (default: FLUORO_API_TENANT, or local)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON")


def _add_expect_arguments(parser: ArgumentParser) -> None:
    _add_arguments(parser)
    parser.add_argument(
        "--count", type=int, required=True, metavar="NUMBER", help="how many are to come, since it was last settled"
    )


def _add_choose_arguments(parser: ArgumentParser) -> None:
    _add_arguments(parser)
    parser.add_argument("--instance", required=True, metavar="UID", help="a SOP Instance UID")
    parser.add_argument(
        "--content", type=data_hash, required=True, metavar="HASH", help="the data hash of one of its contents, whole"
    )


GROUP = CommandGroup(
    "studies",
    __doc__ or "",
    (
        OperatorCommand("settle", settle, _add_arguments),
        OperatorCommand("expect", expect, _add_expect_arguments),
        OperatorCommand("delete", delete, _add_arguments),
        OperatorCommand("restore", restore, _add_arguments),
        OperatorCommand("hold", hold, _add_arguments),
        OperatorCommand("unhold", unhold, _add_arguments),
        OperatorCommand("choose", choose, _add_choose_arguments),
        OperatorCommand("reprocess", reprocess, _add_arguments),
        HISTORY,
    ),
)
