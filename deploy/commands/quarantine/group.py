"""The quarantine commands: list, show, release and discard contents that the doors refused and kept.

HASH is a content's hash as `list` prints it, or the beginning of one. `show --save` writes the bytes into a file, as
they were received; `release` sends them to the STOW-RS door again, and `discard` deletes them for good. Both say who
decides, and why.
"""

import asyncio
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand, add_list_arguments, add_tenant, add_who_and_why
from deploy.commands.files import copy_object, new_file
from deploy.commands.output import as_json, details, print_line, table
from deploy.commands.quarantine import decisions
from deploy.commands.quarantine.decisions import DecisionPorts
from deploy.commands.sections import DecisionSections, ObjectSections, RowSections, load_sections
from deploy.commands.stow import store_file
from deploy.errors import Failed
from gateway.intake.status import MEANINGS
from operators.catalog.ports import HiddenRows
from operators.catalog.rows import QuarantineRow
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.connectors.s3.store import S3ObjectStore
from operators.dicom.instance import prefix_hash
from operators.dicom.scan import limits_of
from schemas.objects import Bucket
from schemas.settings.servers import StoreSettings

HASH_SHOWN = 16
HASH = re.compile("[0-9a-f]{4,64}")
# The STOW-RS door has no TLS of its own.
HTTP_URL = re.compile(r"http://[^/?#]+(/[^?#]*)?")
HEADINGS = ("HASH", "TENANT", "STATE", "REASON", "BYTES", "FROM", "SINCE", "UNTIL")

NO_PREFIX = prefix_hash(b"")
PART = "the part of the STOW-RS request, as received"
FILE = "a preamble and file meta made by the archive, then the data set as received by C-STORE"
DATA_SET = (
    "the data set alone, as received by C-STORE, because its command has no usable UID; its transfer syntax is in the"
    " object's metadata in the store"
)

Decide = Callable[[DecisionPorts, QuarantineRow], Awaitable[str]]


def list_(options: Namespace) -> None:
    """List the contents in quarantine; with --all also those released, discarded or past their time."""
    held_at = None if options.all else datetime.now(UTC)
    rows = PostgresHiddenRows(load_sections(RowSections).catalog)
    found = rows.quarantined(options.tenant, options.most, held_at=held_at)
    if options.json:
        for row in found:
            print_line(as_json(row.__dict__))
        return
    print_line(table(HEADINGS, map(columns, found)) if found else "Nothing is in quarantine.")


def columns(row: QuarantineRow) -> tuple[Any, ...]:
    """Return the columns of a row in the list; no patient data. STOW-RS has no calling AE title."""
    return (
        row.data_hash[:HASH_SHOWN],
        row.tenant,
        row.state,
        row.reason,
        row.size_bytes,
        row.calling_ae,
        row.stored_at,
        row.until,
    )


def show(options: Namespace) -> None:
    """Show the catalog's row of one content, and what it means; with --save write its bytes into a new file."""
    sections = load_sections(ObjectSections)
    row = find_row(PostgresHiddenRows(sections.catalog), options.hash, options.tenant)
    print_line(as_json(described(row)) if options.json else details(described(row)))
    if options.save:
        asyncio.run(save(sections.store, row, options.save))


def described(row: QuarantineRow) -> dict[str, Any]:
    """Return the fields of a row, and in words what its reason means and what was kept."""
    return {**row.__dict__, "meaning": MEANINGS.get(row.reason, ""), "kept_as": kept_as(row)}


def kept_as(row: QuarantineRow) -> str:
    """Return what the bytes of a content are. Only C-STORE has AE titles."""
    if not (row.calling_ae or row.called_ae):
        return PART
    return DATA_SET if row.prefix_hash == NO_PREFIX else FILE


async def save(settings: StoreSettings, row: QuarantineRow, path: Path) -> None:
    """Write a content's bytes into a new file."""
    async with S3ObjectStore(settings) as store:
        with new_file(path) as file:
            await copy_object(store, Bucket.QUARANTINE, row.object_key, row.data_hash, file)
    # Standard output is for programs that read --json.
    print_line(f"{path}: {row.size_bytes} bytes", sys.stderr)


def release(options: Namespace) -> None:
    """Send one content to the STOW-RS door again; once it is stored, it leaves the quarantine."""
    sections = load_sections(DecisionSections)
    row = find_row(PostgresHiddenRows(sections.catalog), options.hash, options.tenant)
    print_line(asyncio.run(carry_out(decisions.release, sections, row, options)))


def discard(options: Namespace) -> None:
    """Delete one content for good; asks first, unless --yes is given."""
    sections = load_sections(DecisionSections)
    row = find_row(PostgresHiddenRows(sections.catalog), options.hash, options.tenant)
    if not options.yes:
        print_line(details(row.__dict__))
        if not is_confirmed("Delete it for good? [y/N] "):
            raise Failed("nothing was deleted")
    print_line(asyncio.run(carry_out(decisions.discard, sections, row, options)))


def is_confirmed(question: str) -> bool:
    """Ask a question; True if the answer is yes, False if it is not or standard input has ended."""
    with suppress(EOFError):
        return input(question).strip().lower() in ("y", "yes")
    return False


def find_row(rows: HiddenRows, beginning: str, tenant: str | None) -> QuarantineRow:
    """Return the row of the one hash that begins with `beginning`; raises Failed when there is none, or more than one."""
    found = rows.quarantined(tenant, 2, beginning=beginning)
    if not found:
        raise Failed(f"no content in quarantine, now or before, has a hash that begins with {beginning}")
    if len(found) > 1:
        raise Failed(f"more than one hash begins with {beginning}: name more of the hash, or the --tenant")
    return found[0]


async def carry_out(decide: Decide, sections: DecisionSections, row: QuarantineRow, options: Namespace) -> str:
    """Open the servers of the settings and carry out a decision on them; return its message."""
    spool_dir = sections.intake.spool_dir
    door = options.stow_url or f"http://{sections.api.host}:{sections.api.port}/dicomweb"
    async with AsyncExitStack() as opened:
        ports = DecisionPorts(
            store=await opened.enter_async_context(S3ObjectStore(sections.store)),
            events=await opened.enter_async_context(KafkaEventLog(sections.broker)),
            store_file=partial(store_file, door),
            tenant=sections.api.tenant,
            folder=spool_dir if spool_dir.is_dir() else None,
            limits=limits_of(sections.intake),
            who=options.who,
            why=options.why,
        )
        return await decide(ports, row)


def hash_beginning(text: str) -> str:
    """Read a content's hash or the beginning of one; raises ArgumentTypeError."""
    if not HASH.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be a hash or its beginning: 4 to 64 of 0-9 and a-f")
    return text


def http_url(text: str) -> str:
    """Read the base URL of a service, without a slash at its end; raises ArgumentTypeError."""
    if not HTTP_URL.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be a URL such as http://127.0.0.1:8060/dicomweb")
    return text.rstrip("/")


def _add_list_arguments(parser: ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument("--all", action="store_true", help="list contents released, discarded or past their time too")


def _add_hash_argument(parser: ArgumentParser) -> None:
    parser.add_argument("hash", type=hash_beginning, metavar="HASH", help="a content's hash, or the beginning of one")
    add_tenant(parser)


def _add_show_arguments(parser: ArgumentParser) -> None:
    _add_hash_argument(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the bytes into a new file")


def _add_release_arguments(parser: ArgumentParser) -> None:
    _add_hash_argument(parser)
    add_who_and_why(parser)
    url = "base URL of the STOW-RS door (http://HOST:PORT/dicomweb with FLUORO_API_HOST and FLUORO_API_PORT)"
    parser.add_argument("--stow-url", type=http_url, metavar="URL", help=url)


def _add_discard_arguments(parser: ArgumentParser) -> None:
    _add_hash_argument(parser)
    add_who_and_why(parser)
    parser.set_defaults(stow_url=None)
    parser.add_argument("--yes", action="store_true", help="do not ask")


GROUP = CommandGroup(
    "quarantine",
    __doc__ or "",
    (
        OperatorCommand("list", list_, _add_list_arguments),
        OperatorCommand("show", show, _add_show_arguments),
        OperatorCommand("release", release, _add_release_arguments),
        OperatorCommand("discard", discard, _add_discard_arguments),
    ),
)
