"""The life of a transfer, which is one association, STOW request or import job: begun once, counted, ended once.

A door holds a `Transfer`. The state that must outlive the process is recorded (`TransferRecord`) and read back
as a `RecordedTransfer`, which makes the `TransferEnd` of each study.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Protocol
from uuid import uuid4

from operators.errors import Unavailable
from operators.rebuild.transfers import end_id
from schemas.events import Origin, Outcome, TransferEnded

# What all studies have of which no event is published: during a long outage of the broker that may be 100,000.
NO_HASHES: AbstractSet[bytes] = frozenset()
# The study of the one end of a transfer that stored nothing, since all of its instances were refused.
NO_STUDY = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a transfer comes from: the peer's name in the peers file, both titles, the address; empty where unknown."""

    peer: str = ""
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""


NOBODY = Sender()


class TransferRecord(Protocol):
    """A record of transfers, so that each transfer ends even if its process is killed. The outbox is such a record.

    `begin` is called once for each transfer, before its first instance is stored, or at its end if all were refused. When
    it raises nothing is recorded: OSError, or Unavailable before the store's time is known. It is called again with the
    next instance. `end` is called at most once, only for a transfer that has begun, when no more of its instances will
    come; it never raises, and returns before the events of the end are published. If a process dies before it has ended
    a transfer, another process ends the transfer as lost.
    """

    def begin(self, transfer_id: str, tenant: str, age_s: float, sender: Sender) -> None:
        """Record that a transfer began `age_s` seconds ago; raises OSError when the disk fails or is full, and Unavailable."""

    def end(self, transfer_id: str, outcome: Outcome, refused: Mapping[str, int]) -> None:
        """Record how a transfer ended; a transfer-ended event for each of its studies, or one without, is published later.

        `refused` counts by reason the instances that were refused for good.
        """


@dataclass
class Transfer:
    """One association, STOW request or import job, as its door sees it."""

    record: TransferRecord
    tenant: str
    calling_ae: str = ""
    called_ae: str = ""
    # The one study whose instances are accepted; empty: any study.
    only_study: str = ""
    origin: Origin = "received"
    transfer_id: str = field(default_factory=lambda: str(uuid4()))
    clock: Callable[[], float] = monotonic
    # The sender's name in the peers file, and its address.
    peer: str = ""
    address: str = ""
    # Instances that were stored, repeats included.
    instances: int = 0
    # Instances that were refused for good, by reason: sending them again would not change that.
    refusals: Counter[str] = field(default_factory=Counter)
    # None until the transfer has ended.
    outcome: Outcome | None = None
    _has_begun: bool = False
    _is_partial: bool = False

    def __post_init__(self) -> None:
        self._since_s = self.clock()

    def begin(self) -> None:
        """Record the beginning, once: with the first instance, so that a transfer without instances leaves no trace.

        Raises OSError when the disk fails or is full, RuntimeError when the transfer has ended.
        """
        if self.outcome is not None:
            raise RuntimeError("the transfer has ended")
        self._record_beginning()

    def _record_beginning(self) -> None:
        if not self._has_begun:
            sender = Sender(self.peer, self.calling_ae, self.called_ae, self.address)
            self.record.begin(self.transfer_id, self.tenant, self.clock() - self._since_s, sender)
            self._has_begun = True

    def count(self) -> None:
        """Count an instance that was stored."""
        self.instances += 1

    def count_refused(self, reason: str) -> None:
        """Count an instance that was refused for good; it leaves the outcome for the others as it is."""
        self.refusals[reason] += 1

    @property
    def refused(self) -> int:
        """Return how many instances were refused for good."""
        return self.refusals.total()

    @property
    def summary(self) -> dict[str, str | int | dict[str, int] | None]:
        """Return what the log says of an ended transfer.

        A transfer that stored nothing, since all its instances were refused, has ended as "refused" for people, not
        "well"; its event has no study.
        """
        has_only_refused = self.outcome == "well" and self.refused and not self.instances
        return {
            "transfer": self.transfer_id,
            "outcome": "refused" if has_only_refused else self.outcome,
            "instances": self.instances,
            "refused": self.refused,
        } | ({"reasons": dict(self.refusals)} if self.refusals else {})

    def mark_partial(self) -> None:
        """Note that the sender was told to send something again, so that `complete` ends the transfer as partial."""
        self._is_partial = True

    def complete(self) -> None:
        """End the transfer at its sender's wish, as well or partial. An ended transfer keeps its outcome."""
        self._end("partial" if self._is_partial else "well")

    def abort(self) -> None:
        """End the transfer as aborted. An ended transfer keeps its outcome."""
        self._end("aborted")

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        # Without disk, or the store's time, only the log tells of a transfer that stored nothing.
        with suppress(OSError, Unavailable):
            if self.refusals:
                self._record_beginning()
        if self._has_begun:
            self.record.end(self.transfer_id, outcome, self.refusals)


@dataclass(frozen=True)
class TransferEnd:
    """The end of a transfer for one of its studies, or for NO_STUDY."""

    tenant: str
    transfer_id: str
    study_uid: str
    outcome: Outcome
    instances: int
    began_at: datetime
    ended_at: datetime
    sender: Sender = NOBODY
    # The bytes of the instances; None if they are not known, as of a transfer that another release began.
    size_bytes: int | None = None
    # Of the whole transfer, for nobody knows the study of what cannot be read.
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def event(self) -> TransferEnded:
        """Return the event of this end; the same transfer and study always have the same event id."""
        return TransferEnded(
            event_id=end_id(self.tenant, self.transfer_id, self.study_uid),
            tenant=self.tenant,
            occurred_at=self.ended_at,
            cause=(self.transfer_id,),
            transfer_id=self.transfer_id,
            study_uid=self.study_uid or None,
            outcome=self.outcome,
            instances=self.instances,
            began_at=self.began_at,
            peer=self.sender.peer,
            calling_ae=self.sender.calling_ae,
            called_ae=self.sender.called_ae,
            address=self.sender.address,
            size_bytes=self.size_bytes,
            refused=dict(self.refused),
        )


@dataclass(slots=True)
class RecordedTransfer:
    """A transfer as it is recorded, until the end of each of its studies is published."""

    transfer_id: str
    tenant: str
    began_at: datetime
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    # For each study with an intent: the data hashes of the instances whose events were published.
    published: dict[str, AbstractSet[bytes]] = field(default_factory=dict)
    # The studies whose end is published.
    ended_studies: frozenset[str] = frozenset()
    # How many of its intents are open.
    open_intents: int = 0
    sender: Sender = NOBODY
    # For each study the bytes of the instances in `published`, as far as they are known.
    sizes: dict[str, int] = field(default_factory=dict)
    # Refused instances by reason; known once the transfer has ended, unless its process died.
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def studies(self) -> AbstractSet[str]:
        """Return the studies that hear of its end: those with an intent, or NO_STUDY if all instances were refused."""
        return self.published.keys() or ({NO_STUDY} if self.refused else frozenset())

    @property
    def is_finished(self) -> bool:
        """True if the transfer has ended and the end of each of its studies is published."""
        return self.outcome is not None and self.ended_studies >= self.studies

    @property
    def is_over(self) -> bool:
        """True if the transfer has ended and none of its intents is open: nothing more is published for it but its ends."""
        return self.outcome is not None and not self.open_intents

    def end(self, outcome: Outcome, ended_at: datetime, refused: Mapping[str, int] | None = None) -> None:
        """Set outcome, time and refusals of the end, unless they are set already."""
        if self.outcome is None:
            self.outcome, self.ended_at, self.refused = outcome, ended_at, dict(refused or {})

    def add(self, study_uid: str, published: Iterable[bytes] = (), size_bytes: int | None = None) -> None:
        """Add a study, and the data hashes of instances of it whose events were published, `size_bytes` in all.

        An instance that was published before, as a repeat is, counts once.
        """
        hashes = self.published.setdefault(study_uid, NO_HASHES)
        published = [data_hash for data_hash in published if data_hash not in hashes]
        if published and size_bytes is not None:
            self.sizes[study_uid] = self.sizes.get(study_uid, 0) + size_bytes
        for data_hash in published:
            if not isinstance(hashes, set):
                hashes = self.published[study_uid] = set()
            hashes.add(data_hash)

    def end_published(self, study_uid: str) -> None:
        """Note that the end for a study was published."""
        self.ended_studies |= {study_uid}

    def unpublished(self) -> list[str]:
        """Return the studies whose end is not published yet, in order; none before the transfer has ended."""
        return [] if self.outcome is None else sorted(self.studies - self.ended_studies)

    def end_for(self, study_uid: str) -> TransferEnd:
        """Return the end for a study; raises ValueError before the transfer has ended."""
        if self.outcome is None:
            raise ValueError("the transfer has not ended")
        return TransferEnd(
            tenant=self.tenant,
            transfer_id=self.transfer_id,
            study_uid=study_uid,
            outcome=self.outcome,
            instances=len(self.published.get(study_uid, NO_HASHES)),
            began_at=self.began_at,
            ended_at=self.ended_at or self.began_at,
            sender=self.sender,
            size_bytes=self.sizes.get(study_uid) if study_uid else 0,
            refused=self.refused,
        )
