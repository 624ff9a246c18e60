"""What is open: instances on their way, transfers that did not end, ends not yet told. Pure: lines in, state out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from schemas.events import Outcome
from schemas.objects import Envelope, Identity

Line = dict[str, Any]


@dataclass(frozen=True)
class Intent:
    """An object that is about to be stored, and its event. The key is the identity's, made once."""

    number: int
    transfer_id: str
    identity: Identity
    key: str
    envelope: Envelope


@dataclass
class Carried:
    """A transfer: for each study that it brought something for, the data hashes of what was published."""

    transfer_id: str
    tenant: str
    began_at: datetime
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    published: dict[str, set[bytes]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class End:
    """A transfer-ended that is to be told: nothing of the transfer is open for this study."""

    tenant: str
    transfer_id: str
    study_uid: str
    outcome: Outcome
    instances: int
    began_at: datetime
    ended_at: datetime


class Ledger:
    """The state that a file of lines stands for."""

    def __init__(self) -> None:
        self.intents: dict[int, Intent] = {}
        self.transfers: dict[str, Carried] = {}

    @property
    def is_empty(self) -> bool:
        """True if nothing is open."""
        return not self.intents and not self.transfers

    def apply(self, line: Line) -> None:
        """Take one line; lines about what is closed change nothing."""
        LINES[line["kind"]](self, line)

    def intend(self, one: Intent) -> None:
        """Open an intent."""
        self.intents[one.number] = one
        self.transfers[one.transfer_id].published.setdefault(one.identity.study_uid, set())

    def close(self, number: int, *, is_published: bool) -> bool:
        """Close an intent, once; say whether its transfer has ended, so that its end may be told now."""
        one = self.intents.pop(number, None)
        if one is None:
            return False
        if is_published:
            published = self.transfers[one.transfer_id].published[one.identity.study_uid]
            published.add(bytes.fromhex(one.identity.data_hash))
        has_ended = self.transfers[one.transfer_id].outcome is not None
        self._forget_if_told(one.transfer_id)
        return has_ended

    def ends(self) -> list[End]:
        """List what is to be told now: ends whose transfers wait for no instance."""
        waited = {intent.transfer_id for intent in self.intents.values()}
        complete = [one for one in self.transfers.values() if one.transfer_id not in waited]
        return [end for one in complete if one.outcome for end in _ends(one, one.outcome)]

    def unended(self) -> list[str]:
        """List the transfers without an end."""
        return [one.transfer_id for one in self.transfers.values() if one.outcome is None]

    def snapshot(self) -> Iterator[Line]:
        """Return lines that lead to this state: fewer than those that did."""
        for carried in self.transfers.values():
            yield begun(carried.transfer_id, carried.tenant, carried.began_at)
            for study_uid, hashes in carried.published.items():
                listed = [one.hex() for one in hashes]
                yield {"kind": "published", "transfer": carried.transfer_id, "study": study_uid, "hashes": listed}
            if carried.outcome and carried.ended_at:
                yield ended(carried.transfer_id, carried.outcome, carried.ended_at)
            yield from (told(carried.transfer_id, study_uid) for study_uid in carried.told)
        yield from (intent(one) for one in self.intents.values())

    def _begun(self, line: Line) -> None:
        began_at = datetime.fromisoformat(line["began_at"])
        self.transfers[line["transfer"]] = Carried(line["transfer"], line["tenant"], began_at)

    def _intent(self, line: Line) -> None:
        envelope = Envelope.from_metadata(line["envelope"])
        self.intend(Intent(line["number"], line["transfer"], Identity.of(line["key"]), line["key"], envelope))

    def _done(self, line: Line) -> None:
        self.close(line["number"], is_published=True)

    def _gone(self, line: Line) -> None:
        self.close(line["number"], is_published=False)

    def _published(self, line: Line) -> None:
        hashes = {bytes.fromhex(one) for one in line["hashes"]}
        self.transfers[line["transfer"]].published.setdefault(line["study"], set()).update(hashes)

    def _ended(self, line: Line) -> None:
        carried = self.transfers.get(line["transfer"])
        if carried is not None and carried.outcome is None:
            carried.outcome = cast("Outcome", line["outcome"])
            carried.ended_at = datetime.fromisoformat(line["ended_at"])
            self._forget_if_told(carried.transfer_id)

    def _told(self, line: Line) -> None:
        carried = self.transfers.get(line["transfer"])
        if carried is not None:
            carried.told.add(line["study"])
            self._forget_if_told(carried.transfer_id)

    def _forget_if_told(self, transfer_id: str) -> None:
        carried = self.transfers[transfer_id]
        is_open = any(one.transfer_id == transfer_id for one in self.intents.values())
        if carried.outcome and not is_open and carried.told >= carried.published.keys():
            del self.transfers[transfer_id]


LINES: dict[str, Callable[[Ledger, Line], None]] = {
    "begun": Ledger._begun,  # noqa: SLF001 - the table of the class above
    "intent": Ledger._intent,  # noqa: SLF001
    "done": Ledger._done,  # noqa: SLF001
    "gone": Ledger._gone,  # noqa: SLF001
    "published": Ledger._published,  # noqa: SLF001
    "ended": Ledger._ended,  # noqa: SLF001
    "told": Ledger._told,  # noqa: SLF001
}


def begun(transfer_id: str, tenant: str, began_at: datetime) -> Line:
    """Write that a transfer began."""
    return {"kind": "begun", "transfer": transfer_id, "tenant": tenant, "began_at": began_at.isoformat()}


def intent(one: Intent) -> Line:
    """Write that an object is about to be stored."""
    return {
        "kind": "intent",
        "number": one.number,
        "transfer": one.transfer_id,
        "key": one.key,
        "envelope": one.envelope.to_metadata(),
    }


def done(number: int) -> Line:
    """Write that the event of an intent was acknowledged."""
    return {"kind": "done", "number": number}


def gone(number: int) -> Line:
    """Write that the object of an intent never came."""
    return {"kind": "gone", "number": number}


def ended(transfer_id: str, outcome: Outcome, ended_at: datetime) -> Line:
    """Write that a transfer ended."""
    return {"kind": "ended", "transfer": transfer_id, "outcome": outcome, "ended_at": ended_at.isoformat()}


def told(transfer_id: str, study_uid: str) -> Line:
    """Write that a transfer-ended was acknowledged."""
    return {"kind": "told", "transfer": transfer_id, "study": study_uid}


def _ends(carried: Carried, outcome: Outcome) -> Iterator[End]:
    for study_uid in sorted(carried.published.keys() - carried.told):
        yield End(
            tenant=carried.tenant,
            transfer_id=carried.transfer_id,
            study_uid=study_uid,
            outcome=outcome,
            instances=len(carried.published[study_uid]),
            began_at=carried.began_at,
            ended_at=carried.ended_at or carried.began_at,
        )
