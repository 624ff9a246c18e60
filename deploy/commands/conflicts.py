"""The conflict commands: list and show instances that were received with different bytes under one UID.

The archive shows the content that was stored first, unless another was chosen, and keeps every other content beside it.
`show` names both, and the command that shows the other one; with --save it writes the bytes that are not shown into files, as they were received.
"""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from deploy.commands.command import CommandGroup, OperatorCommand, add_list_arguments
from deploy.commands.files import copy_object, make_folder, new_file
from deploy.commands.output import as_json, details, print_line, table
from deploy.commands.sections import ObjectSections, RowSections, load_sections
from deploy.errors import Failed
from operators.catalog.ports import ConflictPair
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.connectors.s3.store import S3ObjectStore
from operators.store.ports import ObjectStore
from pipelines.batch.selection import dicom_uid
from schemas.objects import Bucket
from schemas.settings.servers import StoreSettings

HASH_SHOWN = 12
HEADINGS = ("TENANT", "STUDY", "INSTANCE", "KIND", "SINCE", "SHOWN", "KEPT BESIDE")
# The command that shows the other content.
CHOOSE = (
    "python -m deploy.commands studies choose {study_uid} --instance {sop_uid} --content {data_hash}"
    " --tenant {tenant} --why REASON"
)
# The values that are printed of each content: the name of each, and the field of the row that holds it.
FIELDS = {
    "hash": "data_hash",
    "object": "object_key",
    "series": "series_uid",
    "class": "sop_class",
    "syntax": "transfer_syntax",
    "bytes": "size_bytes",
    "stored": "stored_at",
    "transfer": "transfer_id",
}


def list_(options: Namespace) -> None:
    """List conflicts: tenant, study, instance, kind, time, and the hash of each content."""
    found = PostgresHiddenRows(load_sections(RowSections).catalog).conflicts(options.tenant, options.most)
    if options.json:
        print_json(found)
    else:
        print_line(table(HEADINGS, map(columns, found)) if found else "No conflicts.")


def columns(pair: ConflictPair) -> tuple[Any, ...]:
    """Return the columns of a conflict in the list; no patient data."""
    lost = pair.lost
    hashes = pair.shown.data_hash[:HASH_SHOWN], lost.data_hash[:HASH_SHOWN]
    return (lost.tenant, lost.study_uid, lost.sop_uid, lost.kind, lost.stored_at, *hashes)


def show(options: Namespace) -> None:
    """Show both contents of an instance's conflicts; with --save write those that the archive does not show."""
    sections = load_sections(ObjectSections)
    rows = PostgresHiddenRows(sections.catalog)
    found = rows.conflicts(options.tenant, options.most, sop_uid=options.uid)
    if not found:
        raise Failed(f"no conflict is known of instance {options.uid}")
    if options.json:
        print_json(found)
    else:
        print_line("\n\n".join(details(described(pair)) for pair in found))
    if options.save:
        make_folder(options.save)
        asyncio.run(save_and_print(sections.store, found, options.save))


def described(pair: ConflictPair) -> dict[str, Any]:
    """Return the names and values that are printed of a conflict; no patient data."""
    both = {
        f"{side} {name}": getattr(content, field)
        for side, content in (("shown", pair.shown), ("kept", pair.lost))
        for name, field in FIELDS.items()
    }
    names = {"tenant": pair.lost.tenant, "study": pair.lost.study_uid, "instance": pair.lost.sop_uid}
    return {**names, "kind": pair.lost.kind, **both, "choose": CHOOSE.format(**pair.lost.__dict__)}


def print_json(found: Sequence[ConflictPair]) -> None:
    """Print each conflict as a line of JSON."""
    for pair in found:
        print_line(as_json({name.replace(" ", "_"): value for name, value in described(pair).items()}))


async def save_and_print(settings: StoreSettings, found: Sequence[ConflictPair], folder: Path) -> None:
    """Write the contents that are not shown into new files of a folder, and print the path of each."""
    async with S3ObjectStore(settings) as store:
        async for path in save_contents(store, found, folder):
            # Standard output is for programs that read --json.
            print_line(str(path), sys.stderr)


async def save_contents(store: ObjectStore, found: Sequence[ConflictPair], folder: Path) -> AsyncIterator[Path]:
    """Write each content that is not shown into a file named for its tenant, instance and hash; yield its path."""
    for lost in (pair.lost for pair in found):
        path = folder / f"{lost.tenant}_{lost.sop_uid}_{lost.data_hash}.dcm"
        with new_file(path) as file:
            await copy_object(store, Bucket.HOT, lost.object_key, lost.data_hash, file)
        yield path


def _add_show_arguments(parser: ArgumentParser) -> None:
    add_list_arguments(parser)
    parser.add_argument("uid", type=dicom_uid, metavar="UID", help="a SOP Instance UID")
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write the contents that are not shown into new files of this folder"
    )


GROUP = CommandGroup(
    "conflicts",
    __doc__ or "",
    (OperatorCommand("list", list_, add_list_arguments), OperatorCommand("show", show, _add_show_arguments)),
)
