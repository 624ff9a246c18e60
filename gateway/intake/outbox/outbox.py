"""The outbox, which ensures that the event of every stored object is published: an intent is on disk before each PUT.

Failed work is retried until it is done. Each process has an outbox of its own, in one journal file. Living processes
take over the journals of dead processes and finish their work: they look for the objects, publish their events, and end
their transfers as lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import structlog

from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.outbox import ledger
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.ledger import Intent, Ledger
from gateway.intake.transfer import TransferEnd
from operators.errors import Rejected, Unavailable
from operators.store.ports import EventLog
from operators.tasks import supervised
from schemas.events import InstanceStored, Outcome
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_HEALED, GATEWAY_OUTBOX_OPEN
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

LEAST_WAIT_S = 0.2
MOST_WAIT_S = 10.0
AT_ONCE = 8
# How often a living process looks for the journals of dead ones.
ADOPT_S = 2.0
# A journal is rewritten when it is longer than this, and twice as long as after the last rewriting.
REWRITE_BYTES = 8 * 2**20

T = TypeVar("T")

log = structlog.get_logger()

# One attempt at all work of one kind; True when none of it is left.
Round = Callable[[], Awaitable[bool]]

# rebuild(intent) -> the event of the intent's object; None when there is no object.
Rebuild = Callable[[Intent], Awaitable[InstanceStored | None]]


@dataclass(frozen=True)
class OutboxPorts:
    """The event log, the function that rebuilds an event, and the clocks that an outbox works with."""

    events: EventLog
    rebuild: Rebuild
    # How long an object whose PUT has failed may still appear in the store.
    late_put_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    reached: Reached = pass_by


class Outbox:
    """One journal, and the work that its lines leave to do."""

    def __init__(self, journal: Journal, ports: OutboxPorts) -> None:
        self._journal = journal
        self._ports = ports
        self._ledger = Ledger()
        self._numbers = 0
        self._rewritten_bytes = 0
        # Intents to retry, each with the time when the store first said that there is no object; None before that.
        self._failed: dict[int, float | None] = {}
        self._has_failed = asyncio.Event()
        self._has_ended = asyncio.Event()

    @classmethod
    def create(cls, folder: Path, ports: OutboxPorts) -> Self:
        """Return a new, empty outbox for this process; raises OSError."""
        return cls(Journal.create(folder), ports)

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to do."""
        return self._ledger.is_empty

    def inherit(self) -> None:
        """Read the journal of a dead process: its open intents have failed, its open transfers are lost."""
        for line in self._journal.lines():
            self._ledger.apply(line)
        self._numbers = max(self._ledger.intents, default=0)
        self._failed = dict.fromkeys(self._ledger.intents)
        GATEWAY_OUTBOX_OPEN.inc(len(self._failed))
        for transfer_id in self._ledger.unended():
            self.end(transfer_id, "lost")

    def begin(self, transfer_id: str, tenant: str, began_at: datetime) -> None:
        """Record that a transfer began; raises OSError when the disk fails or is full."""
        line = ledger.begun(transfer_id, tenant, began_at)
        self._journal.append(line)
        self._ledger.apply(line)

    def intend(self, transfer_id: str, identity: Identity, key: str, envelope: Envelope) -> int:
        """Record that an object is about to be stored; return the number of the intent. Raises OSError as begin()."""
        intent = Intent(self._numbers + 1, transfer_id, identity, key, envelope)
        self._journal.append(ledger.intended(intent))
        self._numbers = intent.number
        self._ledger.intend(intent)
        GATEWAY_OUTBOX_OPEN.inc()
        return intent.number

    def done(self, number: int) -> None:
        """Record that the event of an intent was acknowledged."""
        self._close(number, ledger.done(number), is_published=True)

    def failed(self, number: int) -> None:
        """Leave an intent to be retried."""
        self._failed.setdefault(number, None)
        self._has_failed.set()

    def end(self, transfer_id: str, outcome: Outcome) -> None:
        """Record how a transfer ended; its transfer-ended events are published later."""
        line = ledger.ended(transfer_id, outcome, self._ports.now())
        self._ledger.apply(line)
        self._record_if_possible(line)
        self._has_ended.set()

    async def run(self) -> None:
        """Work until cancelled; the ends of transfers without a failed intent do not wait for retries.

        Begins with what is left to do, so that it may be called again after it has failed.
        """
        async with asyncio.TaskGroup() as group:
            supervised("outbox_retries", self._on_each(self._has_failed, self._retry_round), group)
            supervised("outbox_ends", self._on_each(self._has_ended, self._end_round), group)

    async def settle(self) -> None:
        """Work until nothing is left to do."""
        await self._repeat(self._both_rounds)

    def close(self) -> None:
        """Close the journal: delete it when nothing is left to do, else leave it to another process."""
        if self._ledger.is_empty:
            self._journal.delete()
        else:
            self._journal.close()

    async def _on_each(self, is_due: asyncio.Event, work: Round) -> None:
        while True:
            await self._repeat(work)
            await is_due.wait()
            is_due.clear()

    async def _repeat(self, work: Round) -> None:
        wait_s = LEAST_WAIT_S
        while not await work():
            await self._ports.sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)

    async def _both_rounds(self) -> bool:
        is_retried = await self._retry_round()
        return await self._end_round() and is_retried

    async def _retry_round(self) -> bool:
        """Retry every failed intent once; True when no failed intent is left."""
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_attempt(gate, self._retry, number) for number in list(self._failed)))
        return not self._failed

    async def _end_round(self) -> bool:
        """Try once to publish every end that can be published now; True when no such end is left."""
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_attempt(gate, self._publish_end, end) for end in self._ledger.ends()))
        if self._ledger.is_empty and self._journal.size_bytes:
            self._rewrite()
        return not self._ledger.ends()

    async def _retry(self, number: int) -> None:
        intent = self._ledger.intents[number]
        try:
            event = await self._ports.rebuild(intent)
        except Rejected as error:
            log.exception("healing_rejected", reason=error.reason, key=intent.key)
            self._give_up(number)
            return
        if event is None:
            if self._is_never_stored(number):
                self._give_up(number)
            return
        await self._ports.events.publish(INSTANCE_STORED, event)
        self.done(number)
        GATEWAY_HEALED.inc()
        log.info("instance_healed", transfer=intent.transfer_id, key=intent.key)

    def _is_never_stored(self, number: int) -> bool:
        """True if the store has had no object for late_put_s: until then a late PUT may still succeed."""
        missed_at = self._failed[number]
        if missed_at is None:
            missed_at = self._failed[number] = self._ports.clock()
        return self._ports.clock() - missed_at >= self._ports.late_put_s

    def _give_up(self, number: int) -> None:
        self._close(number, ledger.given_up(number), is_published=False)

    async def _publish_end(self, end: TransferEnd) -> None:
        await self._ports.events.publish(TRANSFER_ENDED, end.event)
        self._ports.reached("mid_transfer_end")
        line = ledger.end_published(end.transfer_id, end.study_uid)
        self._ledger.apply(line)
        self._record_if_possible(line)

    def _close(self, number: int, line: ledger.Line, *, is_published: bool) -> None:
        self._failed.pop(number, None)
        if self._ledger.close(number, is_published=is_published):
            self._has_ended.set()
        self._record_if_possible(line)
        GATEWAY_OUTBOX_OPEN.dec()

    def _record_if_possible(self, line: ledger.Line) -> None:
        """Append a line if the disk takes it: without the line, another process only repeats work, which changes nothing."""
        with _disk_errors_logged("journal_write_failed"):
            self._journal.append(line)
        if self._journal.size_bytes > max(REWRITE_BYTES, 2 * self._rewritten_bytes):
            self._rewrite()

    def _rewrite(self) -> None:
        with _disk_errors_logged("journal_write_failed"):
            self._journal.replace(self._ledger.snapshot())
        self._rewritten_bytes = self._journal.size_bytes


@contextmanager
def _disk_errors_logged(event: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning(event, errno=error.errno)


async def _attempt(gate: asyncio.Semaphore, work: Callable[[T], Awaitable[None]], item: T) -> None:
    """Do the work for an item once the gate is free; when a server is unavailable, the next round tries again."""
    async with gate:
        with suppress(Unavailable):
            await work(item)


async def adopt(folder: Path, ports: OutboxPorts) -> None:
    """Find and finish the outboxes of dead processes until cancelled; no outbox waits for another."""
    async with asyncio.TaskGroup() as group:
        while True:
            with _disk_errors_logged("outbox_folder_unreadable"):
                for outbox in ownerless(folder, ports):
                    supervised("outbox_finish", finish(outbox), group)
            await ports.sleep(ADOPT_S)


async def finish(outbox: Outbox) -> None:
    """Do all the work that an outbox has left to do, then close it."""
    try:
        await outbox.settle()
    finally:
        outbox.close()


def ownerless(folder: Path, ports: OutboxPorts) -> Iterator[Outbox]:
    """Take over the outboxes that dead processes have left in a folder, and yield each."""
    for journal in Journal.ownerless(folder):
        outbox = Outbox(journal, ports)
        try:
            outbox.inherit()
        except (ValueError, LookupError, TypeError, AttributeError):
            # An unreadable file must not keep the process from starting: it is renamed and kept for a person to examine.
            log.exception("outbox_unreadable", file=journal.path.name)
            journal.set_aside()
            continue
        yield outbox
