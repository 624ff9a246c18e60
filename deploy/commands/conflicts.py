"""Instances of which other bytes came under one UID: `python -m deploy.commands.conflicts list|show`.

The content that was stored first is shown, each other one is kept beside it.
`show` names both; with --save it writes the bytes of those that are not shown
into files, byte for byte as they came.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.commands import shared
from deploy.errors import Failed
from deploy.local.report import say
from deploy.local.running import RunningStack
from operators.catalog.ports import ConflictPair
from operators.connectors.s3.store import S3ObjectStore
from operators.store.ports import ObjectStore
from schemas.objects import Bucket, is_uid

HASH = 12
HEADINGS = ("TENANT", "STUDY", "INSTANCE", "KIND", "SINCE", "SHOWN", "KEPT BESIDE")


def list_(options: argparse.Namespace) -> None:
    """List conflicts: tenant, study, instance, kind, when, and both contents' hashes."""
    found = shared.aside(shared.here()).conflicts(options.tenant, options.most)
    if options.json:
        say_each(found)
        return
    rows = (
        (
            one.lost.tenant,
            one.lost.study_uid,
            one.lost.sop_uid,
            one.lost.kind,
            one.lost.stored_at,
            one.shown.data_hash[:HASH],
            one.lost.data_hash[:HASH],
        )
        for one in found
    )
    say(shared.table(HEADINGS, rows) if found else "No conflicts.")


def show(options: argparse.Namespace) -> None:
    """Show both contents of an instance's conflicts; with --save write what is not shown into files."""
    if not is_uid(options.uid):
        raise Failed(f"{options.uid!r} is no UID")
    stack = shared.here()
    found = shared.aside(stack).conflicts(options.tenant, options.most, sop_uid=options.uid)
    if not found:
        raise Failed(f"no conflict is known of instance {options.uid}")
    if options.json:
        say_each(found)
    else:
        say("\n\n".join(shared.details(described(one)) for one in found))
    if options.save:
        shared.new_folder(options.save)
        asyncio.run(save(stack, found, options.save))


def described(one: ConflictPair) -> dict[str, Any]:
    """Return what is known of a conflict; no patient data."""
    both = {
        f"{name} {what}": getattr(content, field)
        for name, content in (("shown", one.shown), ("kept", one.lost))
        for what, field in FIELDS.items()
    }
    names = {"tenant": one.lost.tenant, "study": one.lost.study_uid, "instance": one.lost.sop_uid}
    return {**names, "kind": one.lost.kind, **both}


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


def say_each(found: Sequence[ConflictPair]) -> None:
    """Say each conflict as a line of JSON."""
    for one in found:
        say(shared.as_json({name.replace(" ", "_"): value for name, value in described(one).items()}))


async def save(stack: RunningStack, found: Sequence[ConflictPair], folder: Path) -> None:
    """Write what is not shown into files of a folder."""
    async with S3ObjectStore(stack.plan.store) as store:
        async for path in saved(store, found, folder):
            # Not among the lines for machines.
            print(path, file=sys.stderr, flush=True)


async def saved(store: ObjectStore, found: Sequence[ConflictPair], folder: Path) -> AsyncIterator[Path]:
    """Return the file of each content that is not shown, named for its tenant, instance and hash, as it is written."""
    for lost in (one.lost for one in found):
        path = folder / f"{lost.tenant}_{lost.sop_uid}_{lost.data_hash}.dcm"
        with shared.new_file(path) as file:
            await shared.copy(store, Bucket.HOT, lost.object_key, lost.data_hash, file)
        yield path


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {"list": list_, "show": show}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all well, 1 a problem, said in a line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.commands.conflicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, do in COMMANDS.items():
        shared.add_choices(commands.add_parser(name, help=do.__doc__, description=do.__doc__))
    commands.choices["show"].add_argument("uid", metavar="UID", help="a SOP Instance UID")
    commands.choices["show"].add_argument("--save", type=Path, metavar="DIR", help="write what is not shown into files")
    options = parser.parse_args(arguments)
    return shared.run(lambda: COMMANDS[options.command](options))


if __name__ == "__main__":
    sys.exit(main())
