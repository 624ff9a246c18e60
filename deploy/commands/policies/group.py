"""The policy commands: what a site decides about studies, as rules that are data.

The rules of a policy are asked in their order, and the first that a study meets decides. Each `put` makes a version,
which is kept for ever; the newest is in force. To have a policy decide nothing any more, put {"rules": []}. The format,
with examples, is in docs/policies.md.
"""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand, add_who_and_why
from deploy.commands.output import as_json, print_line, printable, table
from deploy.commands.policies import putting
from deploy.commands.policies.putting import document_in, document_text
from deploy.commands.policies.reading import every_version, one_version
from deploy.commands.policies.reference import reference
from deploy.commands.policies.testing import test_policies
from deploy.commands.sections import PublishingSections, TenantSections, load_sections
from deploy.commands.times import span
from gateway.policies.answer import answer
from gateway.policies.putting import PutPolicy
from gateway.policies.request import PolicyRequest
from operators.connectors.s3.store import S3ObjectStore
from operators.policies.document import described
from operators.policies.kinds import KINDS
from operators.store.policies import in_force
from pipelines.batch.selection import tenant_name
from schemas.events import PolicyChanged
from schemas.objects import MOST_VERSIONS, POLICY_NAME

LIST_HEADINGS = ("KIND", "NAME", "VERSION", "RULES", "WHO", "WHEN")
VERSION_HEADINGS = ("VERSION", "RULES", "WHO", "WHEN", "WHY")


def list_(options: Namespace) -> None:
    """List the policies in force."""

    async def found() -> Sequence[PolicyChanged]:
        async with S3ObjectStore(sections.store) as store:
            return await in_force(store, options.tenant or sections.api.tenant, options.kind or "")

    sections = load_sections(TenantSections)
    policies = asyncio.run(found())
    if options.json:
        print_lines_of_json(policies)
        return
    rows = [(each.kind, each.name, *version_columns(each)) for each in policies]
    print_line(table(LIST_HEADINGS, rows) if rows else "There are no policies.")


def show(options: Namespace) -> None:
    """Show the rules of a policy as `put` takes them; with --versions list who put which version, and why."""

    async def found() -> Sequence[PolicyChanged]:
        async with S3ObjectStore(sections.store) as store:
            policy = (options.tenant or sections.api.tenant, options.kind, options.name)
            if options.versions:
                return await every_version(store, *policy)
            return [await one_version(store, *policy, options.version)]

    sections = load_sections(TenantSections)
    versions = asyncio.run(found())
    if options.json:
        print_lines_of_json(versions)
    elif options.versions:
        print_line(table(VERSION_HEADINGS, [(*version_columns(each), each.why) for each in versions]))
    else:
        # Standard output is for what `put` reads.
        print_line(about(versions[0]), sys.stderr)
        print_line(document_text(versions[0].rules))


def put(options: Namespace) -> None:
    """Put the rules in a file in force, as the next version of a policy."""
    document = document_in(options.file)
    sections = load_sections(PublishingSections)
    done = asyncio.run(putting.put(sections, request_of(options, document, sections.api.tenant)))
    print_line(as_json(answer(done)) if options.json else told(done))


def request_of(options: Namespace, document: bytes, tenant: str) -> PolicyRequest:
    """Return the request of the arguments; `tenant` is meant where they name none."""
    return PolicyRequest(
        tenant=options.tenant or tenant,
        kind=options.kind,
        name=options.name,
        who=options.who,
        why=options.why,
        document=document,
        if_version=options.if_version,
    )


def told(done: PutPolicy) -> str:
    """Return a line about what became of a request; no patient data."""
    policy = done.policy
    if done.is_repeat:
        return f"{policy.kind} {policy.name}: version {policy.version} has these rules already, and is published again"
    return f"{policy.kind} {policy.name}: version {policy.version} is stored and published"


def about(version: PolicyChanged) -> str:
    """Return a line that says whose version it is."""
    when, why = printable(version.occurred_at), printable(version.why)
    return f"version {version.version}, put by {printable(version.who)} at {when}: {why}"


def version_columns(version: PolicyChanged) -> tuple[Any, ...]:
    """Return the columns of a version that both lists have."""
    return (version.version, len(version.rules), version.who, version.occurred_at)


def print_lines_of_json(versions: Sequence[PolicyChanged]) -> None:
    """Print each version as a line of JSON."""
    for version in versions:
        print_line(as_json(described(version)))


def policy_name(text: str) -> str:
    """Read a policy's name; raises ArgumentTypeError."""
    if not POLICY_NAME.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be 1 to 64 of a-z, 0-9 and -, the first no -")
    return text


def version_number(text: str) -> int:
    """Read a version's number, or 0; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) < len(str(MOST_VERSIONS)) + 1):
        raise ArgumentTypeError(f"{text!r} should be a whole number to {MOST_VERSIONS}")
    return int(text)


def _add_common_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--tenant", type=tenant_name, help="the tenant (default: FLUORO_API_TENANT, or local)")
    parser.add_argument("--json", action="store_true", help="print lines of JSON")


def _add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", choices=tuple(KINDS), help="only of this kind")
    _add_common_arguments(parser)


def _add_policy_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=tuple(KINDS), metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("name", type=policy_name, metavar="NAME", help="the policy's name")


def _add_show_arguments(parser: ArgumentParser) -> None:
    _add_policy_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=version_number, metavar="N", help="this version (default: the one in force)")
    which.add_argument("--versions", action="store_true", help="list all versions, the latest first")
    _add_common_arguments(parser)


def _add_put_arguments(parser: ArgumentParser) -> None:
    _add_policy_arguments(parser)
    parser.add_argument("file", metavar="FILE", help='a file with {"rules": [...]}, or - for standard input')
    add_who_and_why(parser)
    replaced = "put only if this is the last version; 0: if there is none (default: whatever there is)"
    parser.add_argument("--if-version", type=version_number, metavar="N", help=replaced)
    _add_common_arguments(parser)


def _add_test_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=tuple(KINDS), metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("study", metavar="STUDY", help="a Study Instance UID")
    parser.add_argument(
        "--draft", metavar="FILE", help="ask this policy too, which is not put yet; - for standard input"
    )
    parser.add_argument(
        "--name", type=policy_name, metavar="NAME", help="the draft's name; it stands in for the policy of that name"
    )
    after = "as if so much time had gone by, such as 400d"
    parser.add_argument("--after", type=span, default=timedelta(), metavar="TIME", help=after)
    _add_common_arguments(parser)


GROUP = CommandGroup(
    "policies",
    f"{__doc__}\n{reference()}",
    (
        OperatorCommand("list", list_, _add_list_arguments),
        OperatorCommand("show", show, _add_show_arguments),
        OperatorCommand("put", put, _add_put_arguments, f"{put.__doc__}\n\n{reference()}"),
        OperatorCommand("test", test_policies, _add_test_arguments),
    ),
)
