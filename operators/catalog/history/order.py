"""The one order of a study's history, which the database's statements follow too."""

from datetime import datetime
from typing import NamedTuple

from operators.catalog.ports import ConflictPair
from operators.catalog.rows import CommandRow, DueRow, RevisionRow, TransferRow

# A row that is an entry of a history.
HistoryRow = CommandRow | ConflictPair | TransferRow | DueRow | RevisionRow

# Of what has the same moment, a cause comes before its effect.
KINDS = ("command", "conflict", "transfer", "due", "revision")


class HistoryPlace(NamedTuple):
    """The place of an entry among all of its study, and its key there: moment, number in KINDS, and the row's own key.

    `name` is the id of a command, transfer or due, or a conflict's SOP Instance UID; `content` is the data hash of the
    conflict's content that is not shown; `number` is that of a revision. Texts are compared by code points.
    """

    at: datetime
    kind: int
    name: str = ""
    content: str = ""
    number: int = 0


def place_of(row: HistoryRow) -> HistoryPlace:
    """Return the place of a row: at the moment when what it tells has happened.

    A transfer's is its end, and a conflict's the moment at which the later one of its contents was stored.
    """
    match row:
        case CommandRow():
            return HistoryPlace(row.occurred_at, 0, str(row.command_id))
        case ConflictPair(shown, lost):
            return HistoryPlace(max(shown.stored_at, lost.stored_at), 1, lost.sop_uid, lost.data_hash)
        case TransferRow():
            return HistoryPlace(row.ended_at, 2, row.transfer_id)
        case DueRow():
            return HistoryPlace(row.due_at, 3, str(row.event_id))
        case RevisionRow():
            return HistoryPlace(row.settled_at, 4, number=row.revision)
