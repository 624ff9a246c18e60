"""The transfer command: what came from whom, when, and what of it was refused.

A transfer is one association or one STOW-RS request. Times are those of its end; a time without a zone is this machine's
own, and 2026-11-30T08:15Z or 2026-11-30T08:15+01:00 say theirs. Refused instances are counted by reason;
what is kept of them lies in quarantine (`quarantine list`). A transfer that stored nothing and whose process died, or ran an
earlier release, is known by what it left there; if that is nothing, the gateway's log tells (`association_ended`, `store_ended`).
"""

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from deploy.commands.command import OperatorCommand, add_list_arguments
from deploy.commands.output import as_json, print_line, table
from deploy.commands.sections import RowSections, load_sections
from deploy.commands.times import before, span, told
from operators.catalog.ports import HiddenRows
from operators.catalog.rows import QuarantineRow, TransferRow
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from pipelines.batch.spans import SpanEnd, beginning, end

DEFAULT_SINCE = timedelta(hours=24)
MORE = "There are more: these are the latest, by --most {most}."
HEADINGS = ("ENDED", "TENANT", "PEER", "FROM", "ADDRESS", "OUTCOME", "STUDIES", "INSTANCES", "BYTES", "REFUSED")


@dataclass(frozen=True)
class ListedTransfer:
    """One transfer, with the sums over its studies; unknown bytes are None, unknown senders empty."""

    tenant: str
    transfer_id: str
    peer: str
    calling_ae: str
    called_ae: str
    address: str
    outcome: str
    began_at: datetime
    ended_at: datetime
    studies: tuple[str, ...]
    instances: int
    size_bytes: int | None
    refused: dict[str, int]


def transfers(options: Namespace) -> None:
    """List what came from whom and when, and what of it was refused; for the last 24 hours, unless it is said otherwise."""
    since, until = period(options, datetime.now(UTC))
    rows = PostgresHiddenRows(load_sections(RowSections).catalog)
    print_transfers(latest(rows, options, since, until), options.most, as_lines_of_json=options.json)
    if not options.json:
        print_line(f"Time asked for: {told(since, until)}; the list is in UTC.")


def latest(rows: HiddenRows, options: Namespace, since: datetime, until: datetime) -> list[ListedTransfer]:
    """Return the latest transfers of this time, one more than are printed if there are more. Raises Unavailable."""
    most = options.most + 1
    ended = rows.transfers(options.tenant, most, since=since, until=until, sender=options.peer)
    held = rows.refused(options.tenant, most, since=since, until=until, sender=options.peer)
    return listed(ended, held)[:most]


def print_transfers(found: Sequence[ListedTransfer], most: int, *, as_lines_of_json: bool) -> None:
    """Print at most `most` transfers with their sums, and a line on standard error when there are more."""
    shown = found[:most]
    if as_lines_of_json:
        for one in shown:
            print_line(as_json(one.__dict__))
    else:
        if shown:
            print_line(table(HEADINGS, map(columns, shown)))
        print_line(total(shown))
    if len(found) > most:
        print_line(MORE.format(most=most), sys.stderr)


def period(options: Namespace, now: datetime) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the asked time; the end is not part of it."""
    until = options.end or now
    return options.beginning or before(until, DEFAULT_SINCE if options.since is None else options.since), until


def listed(ended: Iterable[TransferRow], held: Iterable[QuarantineRow]) -> list[ListedTransfer]:
    """Return the transfers of these rows, the latest first; those that stored nothing are known by their quarantined instances."""
    by_transfer = sorted(ended, key=_transfer_of)
    found = [_of_rows(list(rows)) for _, rows in groupby(by_transfer, key=_transfer_of)]
    known = {(one.tenant, one.transfer_id) for one in found}
    # The end of a transfer may be written between the two questions.
    others = sorted((row for row in held if _transfer_of(row) not in known), key=_transfer_of)
    found += [_of_refused(list(rows)) for _, rows in groupby(others, key=_transfer_of)]
    return sorted(found, key=lambda one: one.ended_at, reverse=True)


def columns(one: ListedTransfer) -> tuple[Any, ...]:
    """Return the columns of a transfer in the list; no patient data."""
    size = "?" if one.size_bytes is None else one.size_bytes
    sender = (one.peer, one.calling_ae, one.address)
    counts = (len(one.studies), one.instances, size, reasons(one.refused))
    return (one.ended_at, one.tenant, *sender, one.outcome, *counts)


def total(found: Sequence[ListedTransfer]) -> str:
    """Return the sums of a list, as a line."""
    if not found:
        return "No transfer ended in this time."
    refused = sum((Counter(one.refused) for one in found), Counter[str]())
    instances, size = sum(one.instances for one in found), sum(one.size_bytes or 0 for one in found)
    told = f"{refused.total()} refused" + (f" ({reasons(refused)})" if refused else "")
    return f"{len(found)} transfers, {instances} instances, {size / 1e6:.1f} MB; {told}."


def reasons(refused: dict[str, int]) -> str:
    """Return counts by reason, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items(), key=lambda each: -each[1]))


def _transfer_of(row: TransferRow | QuarantineRow) -> tuple[str, str]:
    return row.tenant, row.transfer_id


def _of_rows(rows: Sequence[TransferRow]) -> ListedTransfer:
    """Return the transfer that has these rows, one for each of its studies, or one without a study."""
    first, sizes = rows[0], [row.size_bytes for row in rows]
    studies = tuple(row.study_uid for row in rows if row.study_uid)
    return ListedTransfer(
        tenant=first.tenant,
        transfer_id=first.transfer_id,
        peer=first.peer,
        calling_ae=first.calling_ae,
        called_ae=first.called_ae,
        address=first.address,
        outcome="refused" if first.outcome == "well" and not studies else first.outcome,
        began_at=first.began_at,
        ended_at=max(row.ended_at for row in rows),
        studies=studies,
        instances=sum(row.instances for row in rows),
        size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        refused=dict(first.refused),
    )


def _of_refused(rows: Sequence[QuarantineRow]) -> ListedTransfer:
    """Return the transfer that stored nothing, and left these contents in quarantine."""
    first = rows[0]
    return ListedTransfer(
        tenant=first.tenant,
        transfer_id=first.transfer_id,
        peer="",
        calling_ae=first.calling_ae,
        called_ae=first.called_ae,
        address="",
        outcome="refused",
        began_at=min(row.received_at for row in rows),
        ended_at=max(row.received_at for row in rows),
        studies=(),
        instances=0,
        size_bytes=0,
        refused=dict(Counter(row.reason for row in rows)),
    )


def _add_arguments(parser: ArgumentParser) -> None:
    add_list_arguments(parser)
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--since",
        type=span,
        metavar="SPAN",
        help="for this long before --to, or before now: 90m, 12h, 7d (default: 24h)",
    )
    ends: dict[str, Any] = {"action": SpanEnd, "const": ("beginning", "end"), "metavar": "TIME"}
    begin.add_argument("--from", dest="beginning", type=beginning, help="from a date or a time on", **ends)
    parser.add_argument("--to", dest="end", type=end, help="until the end of a date, or a time (default: now)", **ends)
    parser.add_argument("--peer", metavar="NAME", help="only from this peer, by its name or its calling AE title")


COMMAND = OperatorCommand("transfers", transfers, _add_arguments, about=__doc__ or "")
