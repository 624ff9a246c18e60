"""The work that an outbox has left to do, as the lines of its journal record it: lines in, state out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, cast, get_args

from gateway.intake.outbox.transfers import Transfers, unpacked
from gateway.intake.transfer import NOBODY, RecordedTransfer, Sender, TransferEnd
from schemas.events import Outcome
from schemas.objects import Envelope, Identity

Line = dict[str, Any]

# A line is written in one turn of the event loop.
HASHES_A_LINE = 250
# The kinds of the lines of intents: of an instance, and of the documents, a command and a version of a policy.
INTENT, COMMAND, POLICY = "intent", "command", "policy"
DOCUMENTS = (COMMAND, POLICY)
# The entries of the line of a transfer's beginning for the fields of its Sender, in their order.
SENDER = ("peer", "calling_ae", "called_ae", "address")


@dataclass(frozen=True, slots=True)
class Intent:
    """An object that is about to be stored, and whose event must follow. `key` is the key of the identity."""

    number: int
    transfer_id: str
    identity: Identity
    key: str
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class DocumentIntent:
    """A document of this kind that is about to be stored under `key`, and whose event must follow."""

    number: int
    kind: str
    key: str


# What is about to be stored; the numbers of all kinds are from one sequence.
AnyIntent = Intent | DocumentIntent


class Ledger:
    """The open intents, and the transfers whose ends are not all published.

    Of an open intent only the place of its line is kept, and its transfer counts it: a long outage of the broker may
    leave a hundred thousand of them. `recall(place)` reads a line again; it may raise OSError.
    """

    def __init__(self, recall: Callable[[int], Line]) -> None:
        self._recall = recall
        # The place of the line of each open intent, by the intent's number.
        self.intents: dict[int, int] = {}
        # The numbers of those that are of documents.
        self.documents: set[int] = set()
        # The same for the open intents of a snapshot whose lines were copied, and the number of the last one copied.
        self._copied: dict[int, int] = {}
        self._last_copied = 0
        self.transfers = Transfers()

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to do."""
        return not self.intents and not self.transfers

    def apply(self, line: Line, place: int = 0) -> None:
        """Apply one line, which lies at this place; a line about a closed intent or a finished transfer changes nothing.

        Raises KeyError, ValueError or TypeError for a line that cannot be understood, which then has changed nothing.
        """
        LINES[line["kind"]](self, line, place)

    def intend(self, intent: Intent, place: int) -> None:
        """Open an intent, whose line lies at this place.

        If the beginning of its transfer is not known, because its line was lost, the intent stands in for it.
        """
        transfer = self.transfers.get(intent.transfer_id) or _stand_in(intent)
        if intent.number not in self.intents:
            transfer.open_intents += 1
        transfer.add(intent.identity.study_uid)
        self.transfers.keep(transfer)
        self.intents[intent.number] = place

    def intend_document(self, intent: DocumentIntent, place: int) -> None:
        """Open the intent of a document, whose line lies at this place; it belongs to no transfer."""
        self.intents[intent.number] = place
        self.documents.add(intent.number)

    def intent(self, number: int) -> AnyIntent:
        """Return an open intent; raises OSError when its line cannot be read again, KeyError when it is closed."""
        line = self._recall(self.intents[number])
        return _document_intent(line) if line["kind"] in DOCUMENTS else _intent(line)

    def close(self, intent: AnyIntent, *, is_published: bool, size_bytes: int | None = None) -> bool:
        """Close an intent, whose published object has `size_bytes`; True if ends of its transfer can be published now.

        False for an intent that is closed already.
        """
        if self.intents.pop(intent.number, None) is None:
            return False
        self._copied.pop(intent.number, None)
        if isinstance(intent, DocumentIntent):
            self.documents.discard(intent.number)
            return False
        transfer = self.transfers[intent.transfer_id]
        transfer.open_intents -= 1
        if is_published:
            transfer.add(intent.identity.study_uid, (bytes.fromhex(intent.identity.data_hash),), size_bytes)
        self.transfers.keep(transfer)
        return transfer.is_over

    def unpublished(self, transfer_id: str) -> list[str]:
        """Return the studies for which the end of a transfer can be published now: none before the transfer is over."""
        transfer = self.transfers.get(transfer_id)
        return transfer.unpublished() if transfer is not None and transfer.is_over else []

    def end(self, transfer_id: str, study_uid: str) -> TransferEnd | None:
        """Return the end of a transfer for one of its studies; None if it cannot be published now, or was already."""
        transfer = self.transfers.get(transfer_id)
        if transfer is None or not transfer.is_over or study_uid in transfer.ended_studies:
            return None
        return transfer.end_for(study_uid)

    def has_ended(self, transfer_id: str) -> bool:
        """True if a transfer has ended, or is not known any more."""
        transfer = self.transfers.get(transfer_id)
        return transfer is None or transfer.outcome is not None

    def snapshot(self) -> Iterator[Line]:
        """Yield the fewest lines that lead to this state.

        The state may go on changing between two of them: followed by all lines that were applied since the first was
        asked for, they lead to the state of that moment. So the published hashes come after the intents, because an
        intent that is closed in between must be in one or the other, and the ends come last, because a transfer whose
        ends are all published is forgotten.
        """
        self._copied, self._last_copied = {}, 0
        (ids, kept), numbers = self.transfers.snapshot(), tuple(self.intents)
        for transfer_id, one in zip(ids, kept, strict=True):
            transfer = unpacked(transfer_id, one)
            yield begun(transfer_id, transfer.tenant, transfer.began_at, transfer.sender)
        for number in numbers:
            if (place := self.intents.get(number)) is not None:
                yield self._recall(place)
        for transfer_id, one in zip(ids, kept, strict=True):
            transfer = self.transfers.get(transfer_id) or unpacked(transfer_id, one)
            yield from _published(transfer)
            yield from _ending(transfer)

    def copied(self, lines: Iterable[tuple[Line, int]]) -> None:
        """Note the places of the next lines of the snapshot in the file that will take the journal's place."""
        for line, place in lines:
            if line["kind"] in (INTENT, *DOCUMENTS):
                self._last_copied = line["number"]
                self._copied[self._last_copied] = place

    def move(self, shift: int) -> None:
        """Go over to the file of the snapshot's lines, in which all lines after the snapshot's have moved by `shift` bytes."""
        # Numbers grow, and a dict keeps the order in which they were added.
        later = list(takewhile(lambda number: number > self._last_copied, reversed(self.intents)))
        self._copied.update((number, self.intents[number] + shift) for number in reversed(later))
        self.intents, self._copied, self._last_copied = self._copied, {}, 0

    def _begun(self, line: Line, _: int) -> None:
        began_at = datetime.fromisoformat(line["began_at"])
        sender = Sender(*(str(line.get(name, "")) for name in SENDER))
        transfer = RecordedTransfer(_text(line, "transfer"), _text(line, "tenant"), began_at, sender=sender)
        if transfer.transfer_id not in self.transfers:
            self.transfers.keep(transfer)

    def _intended(self, line: Line, place: int) -> None:
        self.intend(_intent(line), place)

    def _documented(self, line: Line, place: int) -> None:
        self.intend_document(_document_intent(line), place)

    def _done(self, line: Line, _: int) -> None:
        if line["number"] in self.intents:
            self.close(self.intent(line["number"]), is_published=True, size_bytes=_number(line, "bytes"))

    def _given_up(self, line: Line, _: int) -> None:
        if line["number"] in self.intents:
            self.close(self.intent(line["number"]), is_published=False)

    def _published(self, line: Line, _: int) -> None:
        hashes = {bytes.fromhex(data_hash) for data_hash in line["hashes"]}
        transfer = self.transfers[line["transfer"]]
        transfer.add(_text(line, "study"), hashes, _number(line, "bytes"))
        self.transfers.keep(transfer)

    def _ended(self, line: Line, _: int) -> None:
        outcome, ended_at = _outcome(line), datetime.fromisoformat(line["ended_at"])
        refused = {str(reason): int(count) for reason, count in line.get("refused", {}).items()}
        transfer = self.transfers.get(line["transfer"])
        if transfer is not None:
            transfer.end(outcome, ended_at, refused)
            self.transfers.keep(transfer)

    def _end_published(self, line: Line, _: int) -> None:
        study_uid = _text(line, "study")
        transfer = self.transfers.get(line["transfer"])
        if transfer is not None:
            transfer.end_published(study_uid)
            self.transfers.keep(transfer)


# The names of the kinds must stay: another release may have written the journals on disk.
LINES: dict[str, Callable[[Ledger, Line, int], None]] = {
    "begun": Ledger._begun,  # noqa: SLF001 - the table of the class above
    INTENT: Ledger._intended,  # noqa: SLF001
    **dict.fromkeys(DOCUMENTS, Ledger._documented),  # noqa: SLF001
    "done": Ledger._done,  # noqa: SLF001
    "gone": Ledger._given_up,  # noqa: SLF001
    "published": Ledger._published,  # noqa: SLF001
    "ended": Ledger._ended,  # noqa: SLF001
    "told": Ledger._end_published,  # noqa: SLF001
}


def begun(transfer_id: str, tenant: str, began_at: datetime, sender: Sender = NOBODY) -> Line:
    """Return the line that says that a transfer began."""
    line = {"kind": "begun", "transfer": transfer_id, "tenant": tenant, "began_at": began_at.isoformat()}
    return line | {name: value for name, value in zip(SENDER, astuple(sender), strict=True) if value}


def intended(intent: Intent) -> Line:
    """Return the line that says that an object is about to be stored."""
    return {
        "kind": INTENT,
        "number": intent.number,
        "transfer": intent.transfer_id,
        "key": intent.key,
        "envelope": intent.envelope.to_metadata(),
    }


def documented(intent: DocumentIntent) -> Line:
    """Return the line that says that a document is about to be stored."""
    return {"kind": intent.kind, "number": intent.number, "key": intent.key}


def done(number: int, size_bytes: int | None = None) -> Line:
    """Return the line that says that the event of an intent was acknowledged."""
    return {"kind": "done", "number": number} | _known_bytes(size_bytes)


def given_up(number: int) -> Line:
    """Return the line that says that the object of an intent was never stored, or has no event."""
    return {"kind": "gone", "number": number}


def ended(transfer_id: str, outcome: Outcome, ended_at: datetime, refused: Mapping[str, int] | None = None) -> Line:
    """Return the line that says that a transfer ended."""
    line = {"kind": "ended", "transfer": transfer_id, "outcome": outcome, "ended_at": ended_at.isoformat()}
    return line | ({"refused": dict(refused)} if refused else {})


def end_published(transfer_id: str, study_uid: str) -> Line:
    """Return the line that says that the transfer-ended event of one study was acknowledged."""
    return {"kind": "told", "transfer": transfer_id, "study": study_uid}


def _published(transfer: RecordedTransfer) -> Iterator[Line]:
    for study_uid, hashes in transfer.published.items():
        listed = [data_hash.hex() for data_hash in hashes]
        for start in range(0, max(1, len(listed)), HASHES_A_LINE):
            part = listed[start : start + HASHES_A_LINE]
            line = {"kind": "published", "transfer": transfer.transfer_id, "study": study_uid, "hashes": part}
            # The bytes of all of them are added with the first part.
            yield line | _known_bytes(None if start else transfer.sizes.get(study_uid))


def _ending(transfer: RecordedTransfer) -> Iterator[Line]:
    if transfer.outcome and transfer.ended_at:
        yield ended(transfer.transfer_id, transfer.outcome, transfer.ended_at, transfer.refused)
    yield from (end_published(transfer.transfer_id, study_uid) for study_uid in sorted(transfer.ended_studies))


def _stand_in(intent: Intent) -> RecordedTransfer:
    sender = Sender(calling_ae=intent.envelope.calling_ae, called_ae=intent.envelope.called_ae)
    return RecordedTransfer(intent.transfer_id, intent.identity.tenant, intent.envelope.received_at, sender=sender)


def _intent(line: Line) -> Intent:
    envelope = Envelope.from_metadata(line["envelope"])
    return Intent(_own_number(line), _text(line, "transfer"), Identity.of(line["key"]), line["key"], envelope)


def _document_intent(line: Line) -> DocumentIntent:
    return DocumentIntent(_own_number(line), line["kind"], _text(line, "key"))


def _own_number(line: Line) -> int:
    if not isinstance(line["number"], int):
        raise TypeError("the number of an intent is not a number")
    return line["number"]


def _outcome(line: Line) -> Outcome:
    if line["outcome"] not in get_args(Outcome):
        raise ValueError("a transfer ends in another way")
    return cast("Outcome", line["outcome"])


def _known_bytes(size_bytes: int | None) -> Line:
    return {} if size_bytes is None else {"bytes": size_bytes}


def _number(line: Line, name: str) -> int | None:
    """Return a number of a line; None if it has none, as a line of another release."""
    found = line.get(name)
    return found if isinstance(found, int) else None


def _text(line: Line, name: str) -> str:
    if not isinstance(line[name], str):
        raise TypeError("an entry of a line is not a text")
    return cast("str", line[name])
