"""The life of a transfer, which is one association, STOW request or import job: begun once, counted, ended once.

A door holds a `Transfer`. What must outlive the process is recorded (`TransferRecord`) and read back as a
`RecordedTransfer`, which knows the `TransferEnd` of each study, and that end's event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from schemas.events import Origin, Outcome, TransferEnded, event_id


class TransferRecord(Protocol):
    """Where transfers are recorded, so that each one ends although its process is killed. The outbox is one.

    `begin` is called once for each transfer, before its first instance is stored; when it raises OSError nothing is
    recorded, and it is called again with the next instance. `end` is called at most once, only for a transfer that
    has begun, when no more of its instances will come; it never raises, and returns before the end's events are
    published. A transfer without an end when its process is dead is ended by another process, as lost.
    """

    def begin(self, transfer_id: str, tenant: str, began_at: datetime) -> None:
        """Record that a transfer began; raises OSError when the disk refuses."""

    def end(self, transfer_id: str, outcome: Outcome) -> None:
        """Record how a transfer ended, and publish one transfer-ended for each of its studies later."""


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
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    # Instances that were stored, repeats included.
    instances: int = 0
    # None until the transfer has ended.
    outcome: Outcome | None = None
    _has_begun: bool = False
    _is_partial: bool = False

    def begin(self) -> None:
        """Record the beginning, once: with the first instance, so that a transfer without instances leaves no trace.

        Raises OSError when the disk refuses; RuntimeError after the end, for an ended transfer takes no instances.
        """
        if self.outcome is not None:
            raise RuntimeError("the transfer has ended")
        if not self._has_begun:
            self.record.begin(self.transfer_id, self.tenant, self.began_at)
            self._has_begun = True

    def count(self) -> None:
        """Count an instance that was stored."""
        self.instances += 1

    def mark_partial(self) -> None:
        """Note that the sender was told to send something again: `complete` then ends the transfer as partial."""
        self._is_partial = True

    def complete(self) -> None:
        """End the transfer as its sender wished: well, or partial. An ended transfer keeps its outcome."""
        self._end("partial" if self._is_partial else "well")

    def abort(self) -> None:
        """End the transfer as aborted. An ended transfer keeps its outcome."""
        self._end("aborted")

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self._has_begun:
            self.record.end(self.transfer_id, outcome)


@dataclass(frozen=True)
class TransferEnd:
    """The end of a transfer for one of its studies."""

    tenant: str
    transfer_id: str
    study_uid: str
    outcome: Outcome
    instances: int
    began_at: datetime
    ended_at: datetime

    @property
    def event(self) -> TransferEnded:
        """Return the event of this end; the same transfer and study have the same event id."""
        return TransferEnded(
            event_id=event_id("transfer-ended", self.tenant, self.transfer_id, self.study_uid),
            tenant=self.tenant,
            occurred_at=self.ended_at,
            cause=(self.transfer_id,),
            transfer_id=self.transfer_id,
            study_uid=self.study_uid,
            outcome=self.outcome,
            instances=self.instances,
            began_at=self.began_at,
        )


@dataclass
class RecordedTransfer:
    """A transfer as its record knows it, until the end of each of its studies is published."""

    transfer_id: str
    tenant: str
    began_at: datetime
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    # For each study of which an instance was to be stored: the data hashes of the instances that were published.
    published: dict[str, set[bytes]] = field(default_factory=dict)
    # The studies whose end is published.
    ended_studies: set[str] = field(default_factory=set)

    @property
    def is_finished(self) -> bool:
        """True if the transfer has ended and the end of each of its studies is published."""
        return self.outcome is not None and self.ended_studies >= self.published.keys()

    def end(self, outcome: Outcome, ended_at: datetime) -> None:
        """Take the outcome; the first one stays."""
        if self.outcome is None:
            self.outcome, self.ended_at = outcome, ended_at

    def ends(self) -> Iterator[TransferEnd]:
        """Return the ends that are not published yet, in the order of their studies; none before the transfer ends."""
        if self.outcome is None:
            return
        for study_uid in sorted(self.published.keys() - self.ended_studies):
            yield TransferEnd(
                tenant=self.tenant,
                transfer_id=self.transfer_id,
                study_uid=study_uid,
                outcome=self.outcome,
                instances=len(self.published[study_uid]),
                began_at=self.began_at,
                ended_at=self.ended_at or self.began_at,
            )
