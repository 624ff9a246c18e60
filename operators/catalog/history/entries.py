"""From the rows of a study to its history: what happened, when, by whom and why, and what of it holds now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from operators.catalog.history.order import KINDS, HistoryRow, place_of
from operators.catalog.ports import ConflictPair, HistoryRows
from operators.catalog.rows import CommandRow, DecisionRow, DueRow, QuarantineRow, RevisionRow, TransferRow

# The arguments of commands, by their names in a request: see docs/commands.md.
ARGUMENTS = {"expected_instances": "count", "sop_uid": "instance", "data_hash": "content"}
# The actions that decide something, until a later command decides it otherwise.
LASTING = frozenset({"delete", "restore", "hold", "unhold", "choose"})


@dataclass(frozen=True)
class HistoryEntry:
    """One thing that happened: when, its kind (one of KINDS), and its values by the names of docs/history.md."""

    at: datetime
    kind: str
    values: Mapping[str, Any] = field(repr=False)

    @property
    def as_json(self) -> dict[str, Any]:
        """Return the entry as an object of JSON: times are in UTC, with six digits after the second."""
        values = {"at": self.at, "kind": self.kind, **self.values}
        return {name: _text(value) if isinstance(value, datetime) else value for name, value in values.items()}


@dataclass(frozen=True)
class History:
    """A page of a study's history in its order, with the number of all entries, and what holds of the study now."""

    total: int
    is_deleted: bool
    is_held: bool
    entries: tuple[HistoryEntry, ...]


def history_of(rows: HistoryRows) -> History:
    """Return the history that rows tell, in whatever order they are."""
    found: list[HistoryRow] = [*rows.commands, *rows.conflicts, *rows.transfers, *rows.dues, *rows.revisions]
    related = _related(rows)
    return History(
        total=rows.total,
        is_deleted=related.is_in_force("deletion"),
        is_held=related.is_in_force("hold"),
        entries=tuple(_entry(row, related) for row in sorted(found, key=place_of)),
    )


@dataclass(frozen=True)
class _Related:
    """What entries tell beside their own rows: the last decisions by subject and instance, and contents in quarantine by transfer."""

    last: Mapping[tuple[str, str], DecisionRow]
    deciding: frozenset[UUID]
    quarantined: Mapping[str, list[QuarantineRow]]

    def is_in_force(self, subject: str) -> bool:
        """True if this was decided about the study, and nobody has decided otherwise."""
        return (subject, "") in self.last and self.last[subject, ""].in_force


def _related(rows: HistoryRows) -> _Related:
    in_order = sorted(rows.decisions, key=lambda row: (row.occurred_at, row.command_id))
    last = {(row.subject, row.sop_uid): row for row in in_order}
    quarantined: dict[str, list[QuarantineRow]] = {}
    for row in sorted(rows.quarantined, key=lambda row: row.data_hash):
        quarantined.setdefault(row.transfer_id, []).append(row)
    return _Related(last, frozenset(row.command_id for row in last.values()), quarantined)


def _entry(row: HistoryRow, related: _Related) -> HistoryEntry:
    place = place_of(row)
    return HistoryEntry(place.at, KINDS[place.kind], VALUES[type(row)](row, related))


def _command(row: CommandRow, related: _Related) -> dict[str, Any]:
    return {
        "id": str(row.command_id),
        "action": row.action,
        "who": row.who,
        "why": row.why,
        **{name: row.arguments[key] for key, name in ARGUMENTS.items() if key in row.arguments},
        "in_force": row.command_id in related.deciding if row.action in LASTING else None,
    }


def _conflict(pair: ConflictPair, related: _Related) -> dict[str, Any]:
    choice = related.last.get(("choice", pair.shown.sop_uid))
    return {
        "instance": pair.shown.sop_uid,
        "differs_by": pair.lost.kind,
        "shown": pair.shown.data_hash,
        "shown_transfer": pair.shown.transfer_id,
        "kept_beside": pair.lost.data_hash,
        "kept_transfer": pair.lost.transfer_id,
        "chosen_by": _id(choice.command_id) if choice and choice.data_hash == pair.shown.data_hash else None,
    }


def _transfer(row: TransferRow, related: _Related) -> dict[str, Any]:
    quarantined = related.quarantined.get(row.transfer_id, ())
    return {
        "id": row.transfer_id,
        "peer": row.peer,
        "calling_ae": row.calling_ae,
        "called_ae": row.called_ae,
        "address": row.address,
        "outcome": row.outcome,
        "began_at": row.began_at,
        "ended_at": row.ended_at,
        "instances": row.instances,
        "size_bytes": row.size_bytes,
        "refused": dict(sorted(row.refused.items())),
        "quarantined": [{"content": one.data_hash, "reason": one.reason, "state": one.state} for one in quarantined],
    }


def _due(row: DueRow, _: _Related) -> dict[str, Any]:
    return {
        "id": str(row.event_id),
        "signal": row.signal,
        "window_opened_at": row.window_opened_at,
        "instances": row.window_instances,
        "transfers": row.window_transfers,
        "revision": row.revision,
    }


def _revision(row: RevisionRow, _: _Related) -> dict[str, Any]:
    return {
        "revision": row.revision,
        "version": row.version,
        "digest": row.digest,
        "signal": row.signal,
        "due": str(row.due_event_id),
        "instances": row.instances,
        "size_bytes": row.size_bytes,
        "modalities": list(row.modalities),
        "announced_again_by": _id(row.again),
    }


# The values of each kind of row.
VALUES: Mapping[type[HistoryRow], Callable[[Any, _Related], dict[str, Any]]] = {
    CommandRow: _command,
    ConflictPair: _conflict,
    TransferRow: _transfer,
    DueRow: _due,
    RevisionRow: _revision,
}


def _id(uuid: UUID | None) -> str | None:
    return str(uuid) if uuid else None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
