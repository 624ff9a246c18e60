"""The outbox, which ensures that the event of every stored object is published: an intent is on disk before each PUT.

Failed work is retried until it is done. Each process has an outbox of its own, in one journal file. Living processes
take over the journals of dead processes and finish their work (`adoption.py`): they look for the objects, publish their
events, and end their transfers as lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog

from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.outbox.backlog import Backlog
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.journaled import JournaledLedger
from gateway.intake.outbox.ledger import POLICY, AnyIntent, DocumentIntent, Intent
from gateway.intake.transfer import NOBODY, Sender
from operators.errors import Rejected, Unavailable
from operators.store.policies import publish_newest
from operators.store.ports import EventLog, StoreTime
from operators.tasks import supervised
from schemas.events import Event, InstanceStored, Outcome, PolicyChanged, StudyCommand
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_HEALED, GATEWAY_OUTBOX_TROUBLE
from schemas.topics import INSTANCE_STORED, POLICY_CHANGED, STUDY_COMMAND, TRANSFER_ENDED, Topic

LEAST_WAIT_S = 0.2
MOST_WAIT_S = 10.0

# Where the event of an intent is published.
TOPICS: Mapping[type[Event], Topic] = {
    InstanceStored: INSTANCE_STORED,
    StudyCommand: STUDY_COMMAND,
    PolicyChanged: POLICY_CHANGED,
}

log = structlog.get_logger()

# One attempt at all work of one kind; True when none of it is left.
Round = Callable[[], Awaitable[bool]]

# rebuild(intent) -> the event of the intent's object, of a policy that of its newest version; None when there is no object.
RebuiltEvent = InstanceStored | StudyCommand | PolicyChanged
Rebuild = Callable[[AnyIntent], Awaitable[RebuiltEvent | None]]


def report_file(name: str, error: Exception) -> None:
    """Count and log a journal that cannot be read or removed. It is as it was, and is tried again by whoever finds it."""
    GATEWAY_OUTBOX_TROUBLE.labels("file").inc()
    log.error("outbox_unreadable", file=name, error=type(error).__name__, errno=getattr(error, "errno", None))


@dataclass(frozen=True)
class OutboxPorts:
    """The event log, the function that rebuilds an event, and the clocks that an outbox works with."""

    events: EventLog
    rebuild: Rebuild
    # How long an object whose PUT has failed may still appear in the store.
    late_put_s: float
    # The time that is recorded; `clock` only measures how long something takes.
    time: StoreTime
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    reached: Reached = pass_by


class Outbox:
    """One journal, and the work that its lines leave to do."""

    def __init__(self, journal: Journal, ports: OutboxPorts) -> None:
        self._ledger = JournaledLedger(journal)
        self._ports = ports
        # The numbers of the intents to retry, and when the store first said that there is no object.
        self._failed: Backlog[int] = Backlog(self._report_intent)
        self._missed_at: dict[int, float] = {}
        # The transfers and studies whose ends can be published.
        self._ends: Backlog[tuple[str, str]] = Backlog(self._report_end)
        self._error_types: frozenset[str] = frozenset()
        self._has_failed = asyncio.Event()
        self._has_ended = asyncio.Event()

    @classmethod
    def create(cls, folder: Path, ports: OutboxPorts) -> Self:
        """Return a new, empty outbox for this process; raises OSError."""
        return cls(Journal.create(folder), ports)

    @property
    def name(self) -> str:
        """Return the name of the journal's file."""
        return self._ledger.journal.path.name

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to do."""
        return self._ledger.open.is_empty

    async def inherit(self) -> None:
        """Read the journal of a dead process: its open intents have failed, its open transfers are lost.

        Lines that cannot be understood are set aside for a person to examine; all others are used. Raises OSError.
        """
        await self._ledger.read()
        for number in self._ledger.open.intents:
            self._failed.add(number)
        await asyncio.sleep(0)
        for transfer_id in tuple(self._ledger.open.transfers):
            if self._ledger.open.has_ended(transfer_id):
                self._add_ends(transfer_id)
            else:
                self.end(transfer_id, "lost")
            await asyncio.sleep(0)

    def begin(self, transfer_id: str, tenant: str, age_s: float, sender: Sender = NOBODY) -> None:
        """Record that a transfer began so long ago; raises OSError when the disk fails or is full."""
        self._ledger.begin(transfer_id, tenant, self._ports.time.now() - timedelta(seconds=age_s), sender)

    def intend(self, transfer_id: str, identity: Identity, key: str, envelope: Envelope) -> Intent:
        """Record that an object is about to be stored; return the intent. Raises OSError as begin()."""
        return self._ledger.intend(transfer_id, identity, key, envelope)

    def intend_document(self, kind: str, key: str) -> DocumentIntent:
        """Record that a document is about to be stored; return the intent. Raises OSError as begin()."""
        return self._ledger.intend_document(kind, key)

    def done(self, intent: AnyIntent, size_bytes: int | None = None) -> None:
        """Record that the event of an intent was acknowledged, and the size of its object."""
        self._close_intent(intent, is_published=True, size_bytes=size_bytes)

    def failed(self, intent: AnyIntent) -> None:
        """Leave an intent to be retried."""
        self._failed.add(intent.number)
        self._has_failed.set()

    def end(self, transfer_id: str, outcome: Outcome, refused: Mapping[str, int] | None = None) -> None:
        """Record how a transfer ended; its transfer-ended events are published later."""
        self._ledger.end(transfer_id, outcome, self._ports.time.now(), refused)
        self._add_ends(transfer_id)

    async def run(self) -> None:
        """Work until cancelled; the ends of transfers without a failed intent do not wait for retries.

        Begins with what is left to do, so that it may be called again after it has failed.
        """
        async with asyncio.TaskGroup() as group:
            supervised("outbox_retries", self._on_each(self._has_failed, self._retry_round), group)
            supervised("outbox_ends", self._on_each(self._has_ended, self._end_round), group)
            supervised("outbox_rewriting", self._rewrite_when_grown(), group)

    async def settle(self) -> None:
        """Work until nothing is left to do."""
        await self._repeat(self._both_rounds)

    def close(self) -> None:
        """Close the journal: delete it when nothing is left to do, else leave it to another process."""
        self._ledger.close()

    async def _on_each(self, is_due: asyncio.Event, work: Round) -> None:
        while True:
            await self._repeat(work)
            await is_due.wait()
            is_due.clear()

    async def _repeat(self, work: Round) -> None:
        wait_s, is_answering = LEAST_WAIT_S, True
        while not (is_answering and await work()):
            await self._ports.sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)
            # During an outage the broker is asked: an object is read again only if its event can be published.
            is_answering = await self._is_answering()

    async def _both_rounds(self) -> bool:
        await self._end_round()
        is_retried = await self._retry_round()
        return await self._end_round() and is_retried

    async def _retry_round(self) -> bool:
        """Retry the failed intents; True when no failed intent is left."""
        return await self._failed.attempt_all(self._retry)

    async def _end_round(self) -> bool:
        """Try once to publish every end that can be published now; True when no such end is left."""
        is_done = await self._ends.attempt_all(self._publish_end)
        await self._ledger.clear()
        return is_done

    async def _rewrite_when_grown(self) -> None:
        while True:
            await self._ledger.has_grown.wait()
            self._ledger.has_grown.clear()
            await self._ledger.rewrite()
            # If nothing is open any more the journal can be cleared now.
            self._has_ended.set()

    async def _is_answering(self) -> bool:
        try:
            await self._ports.events.check()
        except Unavailable:
            return False
        return True

    async def _retry(self, number: int) -> bool:
        """Publish the event of an intent's object; True if the intent is closed now."""
        intent = self._ledger.open.intent(number)
        try:
            event = await _published(self._ports, intent)
        except Rejected as error:
            self._set_aside(intent, error.reason)
            return True
        if event is None:
            return self._is_given_up(intent)
        self.done(intent, event.size_bytes if isinstance(event, InstanceStored) else None)
        GATEWAY_HEALED.inc()
        if isinstance(intent, DocumentIntent):
            log.info("document_healed", kind=intent.kind, key=intent.key)
        else:
            log.info("instance_healed", transfer=intent.transfer_id, key=intent.key)
        return True

    def _is_given_up(self, intent: AnyIntent) -> bool:
        """True if the store has had no object for late_put_s: until then a late PUT may still succeed."""
        missed_at = self._missed_at.setdefault(intent.number, self._ports.clock())
        if self._ports.clock() - missed_at < self._ports.late_put_s:
            return False
        self._close_intent(intent, is_published=False)
        return True

    def _set_aside(self, intent: AnyIntent, reason: str) -> None:
        """Close an intent whose object can never have an event; its line is kept for a person to examine."""
        aside = self._ledger.set_aside(intent)
        GATEWAY_OUTBOX_TROUBLE.labels("object").inc()
        log.error("healing_rejected", reason=reason, key=intent.key, kept_in=aside.name)
        self._close_intent(intent, is_published=False)

    async def _publish_end(self, end_of: tuple[str, str]) -> bool:
        """Publish the end of a transfer for one study, unless that was done; True when it is."""
        end = self._ledger.open.end(*end_of)
        if end is None:
            return True
        await self._ports.events.publish(TRANSFER_ENDED, end.event)
        self._ports.reached("mid_transfer_end")
        self._ledger.end_published(*end_of)
        return True

    def _add_ends(self, transfer_id: str) -> None:
        for study_uid in self._ledger.open.unpublished(transfer_id):
            self._ends.add((transfer_id, study_uid))
        self._has_ended.set()

    def _close_intent(self, intent: AnyIntent, *, is_published: bool, size_bytes: int | None = None) -> None:
        self._missed_at.pop(intent.number, None)
        is_over = self._ledger.close_intent(intent, is_published=is_published, size_bytes=size_bytes)
        if isinstance(intent, DocumentIntent):
            # Without a transfer's end nothing else looks whether the journal is empty now.
            self._has_ended.set()
        elif is_over:
            self._add_ends(intent.transfer_id)

    def _report_intent(self, number: int, error: Exception) -> None:
        key = ""
        with suppress(OSError, LookupError, ValueError, TypeError):
            key = self._ledger.open.intent(number).key
        self._report(error, key=key)

    def _report_end(self, end_of: tuple[str, str], error: Exception) -> None:
        self._report(error, transfer=end_of[0])

    def _report(self, error: Exception, **what: str) -> None:
        """Log an error that nothing expects: with its traceback, where it is the first of its type."""
        kind = type(error).__name__
        traced, self._error_types = kind not in self._error_types and error, self._error_types | {kind}
        GATEWAY_OUTBOX_TROUBLE.labels("error").inc()
        log.error("outbox_entry_failed", file=self.name, error=kind, exc_info=traced, **what)


async def _published(ports: OutboxPorts, intent: AnyIntent) -> Event | None:
    """Publish the event of an intent's object, and return it; None if there is no object. Raises as `rebuild` does."""

    async def rebuild() -> RebuiltEvent | None:
        return await ports.rebuild(intent)

    async def publish(event: RebuiltEvent) -> None:
        await ports.events.publish(TOPICS[type(event)], event)

    if isinstance(intent, DocumentIntent) and intent.kind == POLICY:
        return await publish_newest(publish, rebuild)
    if event := await rebuild():
        await publish(event)
    return event
