"""The command that prints what has happened to a study: the same history as over REST, in sentences (docs/history.md)."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from textwrap import wrap
from typing import Any
from unicodedata import east_asian_width

from deploy.commands.command import DEFAULT_MOST, OperatorCommand, list_length
from deploy.commands.output import as_json, print_line, printable
from deploy.commands.sections import HistorySections, load_sections
from deploy.errors import Failed
from operators.catalog.history.entries import History, HistoryEntry, history_of
from operators.catalog.history.order import KINDS
from operators.catalog.ports import CatalogQueries
from operators.connectors.postgres.queries import PostgresQueries
from pipelines.batch.selection import dicom_uid, tenant_name

UNKNOWN = "nothing has arrived for study {study} of tenant {tenant}, and no command names it: look at UID and tenant"
EARLIER = "There are {count} earlier entries: these are the latest, by --most {most}."
HASH_SHOWN = 12
KB_BELOW_BYTES = 1_000_000
# The columns of a line: the moment, the kind, and what is told, which goes on in the lines below.
KIND_WIDTH = max(map(len, KINDS))
INDENT = len("2026-03-01 12:00:00Z") + 2 + KIND_WIDTH + 2
TOLD_WIDTH = 120 - INDENT
# Stands in for what a wide character takes beside its first column. No printable text has it.
SECOND_COLUMN = "\0"


def history(options: Namespace) -> None:
    """Print what has happened to a study, deleted or not, and what of it holds now."""
    sections = load_sections(HistorySections)
    tenant = options.tenant or sections.api.tenant

    async def read() -> History:
        async with PostgresQueries(sections.catalog) as queries:
            return await latest(queries, tenant, options.study, options.most)

    print_history(asyncio.run(read()), options.study, tenant, options.most, as_lines_of_json=options.json)


async def latest(queries: CatalogQueries, tenant: str, study_uid: str, most: int) -> History:
    """Return the last `most` entries of a study's history; raises Failed where nothing is known, and Unavailable."""
    counted = await queries.history(tenant, study_uid, 0)
    if not counted.is_known:
        raise Failed(UNKNOWN.format(study=study_uid, tenant=tenant))
    return history_of(await queries.history(tenant, study_uid, most, max(counted.total - most, 0)))


def print_history(found: History, study_uid: str, tenant: str, most: int, *, as_lines_of_json: bool) -> None:
    """Print the entries, what holds of the study, and a line on standard error when there are earlier entries."""
    if as_lines_of_json:
        for entry in found.entries:
            print_line(as_json(entry.as_json))
    else:
        for entry in found.entries:
            print_line("\n".join(lines(entry)))
        print_line(summary(found, study_uid, tenant))
    if found.total > len(found.entries):
        print_line(EARLIER.format(count=found.total - len(found.entries), most=most), sys.stderr)


def lines(entry: HistoryEntry) -> list[str]:
    """Return the lines of an entry, of at most 120 columns; the reason of a command may hold patient data."""
    first, *others = _wrapped(printable(SENTENCES[entry.kind](entry.values)))
    return [f"{printable(entry.at)}  {entry.kind:<{KIND_WIDTH}}  {first}", *(" " * INDENT + other for other in others)]


def _wrapped(text: str) -> list[str]:
    """Return the lines of a printable text; a wide character, such as those of Chinese, takes two columns."""
    columns = "".join(one + SECOND_COLUMN * (east_asian_width(one) in "WF") for one in text)
    # A line may end between the two columns of a wide character.
    width = TOLD_WIDTH - (SECOND_COLUMN in columns)
    return [line.replace(SECOND_COLUMN, "") for line in wrap(columns, width, break_on_hyphens=False)]


def summary(found: History, study_uid: str, tenant: str) -> str:
    """Return a line about the study and what holds of it now."""
    states = [state for state, holds in (("deleted", found.is_deleted), ("on hold", found.is_held)) if holds]
    now = f"is {' and '.join(states)}" if states else "is neither deleted nor on hold"
    return f"Study {study_uid} of tenant {tenant} {now}. Entries: {found.total}. Times are in UTC."


def _command(values: Mapping[str, Any]) -> str:
    what = {
        "expect": f"expect {_counted(values.get('count', 0), 'instance')}",
        "choose": "choose content {content:.12} of instance {instance}",
    }.get(values["action"], values["action"])
    state = {True: "in force, ", False: "no longer in force, ", None: ""}[values["in_force"]]
    return f"{what.format(**values)}, asked for by {values['who']}: {values['why']} ({state}command {values['id']})"


def _conflict(values: Mapping[str, Any]) -> str:
    chosen = f", chosen by command {values['chosen_by']}" if values["chosen_by"] else ""
    shown, kept = values["shown"][:HASH_SHOWN], values["kept_beside"][:HASH_SHOWN]
    return (
        f"instance {values['instance']} has two contents, another {DIFFERENCES[values['differs_by']]}: "
        f"{shown} is shown{chosen}; {kept} is kept beside it"
    )


# What is another one in a content of each kind of conflict.
DIFFERENCES = {"patient": "patient", "re-encoded": "transfer syntax", "content": "data set"}


def _transfer(values: Mapping[str, Any]) -> str:
    titles = [values["calling_ae"], values["called_ae"] and f"to {values['called_ae']}"]
    known = ", ".join(filter(None, [" ".join(filter(None, titles)), values["address"]]))
    sender = f"{values['peer'] or 'an unnamed peer'}{f' ({known})' if known else ''}"
    return "; ".join(
        [
            f"{_instances(values)} from {sender}",
            f"began {printable(values['began_at'])}, ended {values['outcome']}",
            *_refusals(values),
            f"transfer {values['id']}",
        ]
    )


def _refusals(values: Mapping[str, Any]) -> Iterator[str]:
    if values["refused"]:
        yield f"refused of it: {', '.join(f'{count} {reason}' for reason, count in values['refused'].items())}"
    if values["quarantined"]:
        held = (f"{one['content'][:HASH_SHOWN]} ({one['reason']}, {one['state']})" for one in values["quarantined"])
        yield f"in quarantine: {', '.join(held)}"


def _due(values: Mapping[str, Any]) -> str:
    made = f"made revision {values['revision']}" if values["revision"] else "nothing had changed"
    counts = f"{_counted(values['instances'], 'instance')} in {_counted(values['transfers'], 'transfer')}"
    # A command makes a study due although nothing has arrived.
    window = f"{counts} since {printable(values['window_opened_at'])}" if values["instances"] else "nothing had arrived"
    return f"by signal {values['signal']}: {window}; {made}"


def _revision(values: Mapping[str, Any]) -> str:
    again = f"; announced again by command {values['announced_again_by']}" if values["announced_again_by"] else ""
    modalities = ", ".join(values["modalities"]) or "no modality"
    return (
        f"{values['revision']}, by signal {values['signal']}: {_instances(values)}, {modalities}; "
        f"digest {values['digest'][:HASH_SHOWN]}, version {values['version']}{again}"
    )


SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "command": _command,
    "conflict": _conflict,
    "transfer": _transfer,
    "due": _due,
    "revision": _revision,
}


def _instances(values: Mapping[str, Any]) -> str:
    size = "unknown size" if values["size_bytes"] is None else _size(values["size_bytes"])
    return f"{_counted(values['instances'], 'instance')}, {size}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= KB_BELOW_BYTES else f"{size_bytes / 1e3:.1f} kB"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=dicom_uid, metavar="STUDY", help="a Study Instance UID")
    parser.add_argument("--tenant", type=tenant_name, help="the study's tenant (default: FLUORO_API_TENANT, or local)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each entry")
    last = f"print at most this many entries, the last ones (default: {DEFAULT_MOST})"
    parser.add_argument("--most", type=list_length, default=DEFAULT_MOST, metavar="NUMBER", help=last)


HISTORY = OperatorCommand("history", history, _add_arguments)
