"""The work that an outbox has left to do, as the lines of its journal record it. No I/O: lines in, state out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from gateway.intake.transfer import RecordedTransfer, TransferEnd
from schemas.events import Outcome
from schemas.objects import Envelope, Identity

Line = dict[str, Any]


@dataclass(frozen=True)
class Intent:
    """An object that is about to be stored, and whose event must follow. `key` is the key of the identity."""

    number: int
    transfer_id: str
    identity: Identity
    key: str
    envelope: Envelope


class Ledger:
    """The open intents, and the transfers whose ends are not all published."""

    def __init__(self) -> None:
        self.intents: dict[int, Intent] = {}
        self.transfers: dict[str, RecordedTransfer] = {}

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to do."""
        return not self.intents and not self.transfers

    def apply(self, line: Line) -> None:
        """Apply one line; a line about a closed intent or a finished transfer changes nothing."""
        LINES[line["kind"]](self, line)

    def intend(self, intent: Intent) -> None:
        """Open an intent of a transfer that has begun."""
        self.intents[intent.number] = intent
        self.transfers[intent.transfer_id].published.setdefault(intent.identity.study_uid, set())

    def close(self, number: int, *, is_published: bool) -> bool:
        """Close an intent; True if its transfer has ended, so that an end may be ready to be published now.

        False for an intent that is closed already.
        """
        intent = self.intents.pop(number, None)
        if intent is None:
            return False
        transfer = self.transfers[intent.transfer_id]
        if is_published:
            transfer.published[intent.identity.study_uid].add(bytes.fromhex(intent.identity.data_hash))
        self._forget_if_finished(transfer)
        return transfer.outcome is not None

    def ends(self) -> list[TransferEnd]:
        """Return the ends that can be published now: those of transfers without an open intent."""
        waiting = {intent.transfer_id for intent in self.intents.values()}
        return [
            end
            for transfer in self.transfers.values()
            if transfer.transfer_id not in waiting
            for end in transfer.ends()
        ]

    def unended(self) -> list[str]:
        """Return the ids of the transfers that have not ended."""
        return [transfer.transfer_id for transfer in self.transfers.values() if transfer.outcome is None]

    def snapshot(self) -> Iterator[Line]:
        """Yield the fewest lines that lead to this state."""
        for transfer in self.transfers.values():
            yield from _beginning(transfer)
        # Before the ends: a transfer whose ends are all published is forgotten unless it has an open intent.
        yield from (intended(intent) for intent in self.intents.values())
        for transfer in self.transfers.values():
            yield from _ending(transfer)

    def _begun(self, line: Line) -> None:
        began_at = datetime.fromisoformat(line["began_at"])
        self.transfers[line["transfer"]] = RecordedTransfer(line["transfer"], line["tenant"], began_at)

    def _intended(self, line: Line) -> None:
        envelope = Envelope.from_metadata(line["envelope"])
        self.intend(Intent(line["number"], line["transfer"], Identity.of(line["key"]), line["key"], envelope))

    def _done(self, line: Line) -> None:
        self.close(line["number"], is_published=True)

    def _given_up(self, line: Line) -> None:
        self.close(line["number"], is_published=False)

    def _published(self, line: Line) -> None:
        hashes = {bytes.fromhex(data_hash) for data_hash in line["hashes"]}
        self.transfers[line["transfer"]].published.setdefault(line["study"], set()).update(hashes)

    def _ended(self, line: Line) -> None:
        transfer = self.transfers.get(line["transfer"])
        if transfer is not None:
            transfer.end(cast("Outcome", line["outcome"]), datetime.fromisoformat(line["ended_at"]))
            self._forget_if_finished(transfer)

    def _end_published(self, line: Line) -> None:
        transfer = self.transfers.get(line["transfer"])
        if transfer is not None:
            transfer.ended_studies.add(line["study"])
            self._forget_if_finished(transfer)

    def _forget_if_finished(self, transfer: RecordedTransfer) -> None:
        if not transfer.is_finished:
            return
        if not any(intent.transfer_id == transfer.transfer_id for intent in self.intents.values()):
            del self.transfers[transfer.transfer_id]


# The names of the kinds must stay: another release may have written the journals on disk.
LINES: dict[str, Callable[[Ledger, Line], None]] = {
    "begun": Ledger._begun,  # noqa: SLF001 - the table of the class above
    "intent": Ledger._intended,  # noqa: SLF001
    "done": Ledger._done,  # noqa: SLF001
    "gone": Ledger._given_up,  # noqa: SLF001
    "published": Ledger._published,  # noqa: SLF001
    "ended": Ledger._ended,  # noqa: SLF001
    "told": Ledger._end_published,  # noqa: SLF001
}


def begun(transfer_id: str, tenant: str, began_at: datetime) -> Line:
    """Return the line that says that a transfer began."""
    return {"kind": "begun", "transfer": transfer_id, "tenant": tenant, "began_at": began_at.isoformat()}


def intended(intent: Intent) -> Line:
    """Return the line that says that an object is about to be stored."""
    return {
        "kind": "intent",
        "number": intent.number,
        "transfer": intent.transfer_id,
        "key": intent.key,
        "envelope": intent.envelope.to_metadata(),
    }


def done(number: int) -> Line:
    """Return the line that says that the event of an intent was acknowledged."""
    return {"kind": "done", "number": number}


def given_up(number: int) -> Line:
    """Return the line that says that the object of an intent was never stored, or has no event."""
    return {"kind": "gone", "number": number}


def ended(transfer_id: str, outcome: Outcome, ended_at: datetime) -> Line:
    """Return the line that says that a transfer ended."""
    return {"kind": "ended", "transfer": transfer_id, "outcome": outcome, "ended_at": ended_at.isoformat()}


def end_published(transfer_id: str, study_uid: str) -> Line:
    """Return the line that says that the transfer-ended event of one study was acknowledged."""
    return {"kind": "told", "transfer": transfer_id, "study": study_uid}


def _beginning(transfer: RecordedTransfer) -> Iterator[Line]:
    yield begun(transfer.transfer_id, transfer.tenant, transfer.began_at)
    for study_uid, hashes in transfer.published.items():
        listed = [data_hash.hex() for data_hash in hashes]
        yield {"kind": "published", "transfer": transfer.transfer_id, "study": study_uid, "hashes": listed}


def _ending(transfer: RecordedTransfer) -> Iterator[Line]:
    if transfer.outcome and transfer.ended_at:
        yield ended(transfer.transfer_id, transfer.outcome, transfer.ended_at)
    yield from (end_published(transfer.transfer_id, study_uid) for study_uid in transfer.ended_studies)
