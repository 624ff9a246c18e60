"""What makes every stored object's event certain: intents on disk before each PUT, retried until they are done.

One file per process. Every process takes the files of those that are gone, and does for them what it does for
itself: look for the objects, publish their events, end their transfers (as lost).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import structlog

from gateway.intake import ledger
from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.journal import Journal
from gateway.intake.ledger import Intent, Ledger
from gateway.intake.transfer import TransferEnd
from operators.errors import Rejected, Unavailable
from operators.store.ports import EventLog
from schemas.events import InstanceStored, Outcome
from schemas.objects import Envelope, Identity
from schemas.telemetry import GATEWAY_HEALED, GATEWAY_OUTBOX_OPEN
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

LEAST_WAIT_S = 0.2
MOST_WAIT_S = 10.0
AT_ONCE = 8
# How often a process looks for files of others that died while it lives.
ADOPT_S = 2.0
# A journal is rewritten when it is this long and twice as long as after the last time.
REWRITE_BYTES = 8 * 2**20

T = TypeVar("T")

log = structlog.get_logger()

# One attempt at everything that waits; True when nothing is left.
Round = Callable[[], Awaitable[bool]]

# rebuild(intent) -> the event of the object that is there; None when none is.
Rebuild = Callable[[Intent], Awaitable[InstanceStored | None]]


@dataclass(frozen=True)
class OutboxPorts:
    """What an outbox works with: where events go, how an object's event is had again, time."""

    events: EventLog
    rebuild: Rebuild
    heal_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    reached: Reached = pass_by


class Outbox:
    """One journal, its state, and the work that it stands for."""

    def __init__(self, journal: Journal, outside: OutboxPorts) -> None:
        self._journal = journal
        self._outside = outside
        self._ledger = Ledger()
        self._numbers = 0
        self._rewritten_bytes = 0
        # Intents that wait for a retry, each with the first moment at which the store said that nothing is there.
        self._failed: dict[int, float | None] = {}
        self._has_failed = asyncio.Event()
        self._has_ended = asyncio.Event()

    @classmethod
    def create(cls, folder: Path, outside: OutboxPorts) -> Self:
        """Begin an empty one for this process; raises OSError."""
        return cls(Journal.create(folder), outside)

    @property
    def is_empty(self) -> bool:
        """True if nothing is open."""
        return self._ledger.is_empty

    def inherit(self) -> None:
        """Take what a process that is gone left here: its intents failed, its open transfers are lost."""
        for line in self._journal.lines():
            self._ledger.apply(line)
        self._numbers = max(self._ledger.intents, default=0)
        self._failed = dict.fromkeys(self._ledger.intents)
        GATEWAY_OUTBOX_OPEN.inc(len(self._failed))
        for transfer_id in self._ledger.unended():
            self.end(transfer_id, "lost")

    def begin(self, transfer_id: str, tenant: str, began_at: datetime) -> None:
        """Note that a transfer began; raises OSError when the disk refuses."""
        line = ledger.begun(transfer_id, tenant, began_at)
        self._journal.append(line)
        self._ledger.apply(line)

    def intend(self, transfer_id: str, identity: Identity, key: str, envelope: Envelope) -> int:
        """Note that an object is about to be stored; give the number to close it by. Raises OSError as begin()."""
        intent = Intent(self._numbers + 1, transfer_id, identity, key, envelope)
        self._journal.append(ledger.intended(intent))
        self._numbers = intent.number
        self._ledger.intend(intent)
        GATEWAY_OUTBOX_OPEN.inc()
        return intent.number

    def done(self, number: int) -> None:
        """Note that the event was acknowledged."""
        self._close(number, ledger.done(number), is_published=True)

    def failed(self, number: int) -> None:
        """Leave the intent to the retries."""
        self._failed.setdefault(number, None)
        self._has_failed.set()

    def end(self, transfer_id: str, outcome: Outcome) -> None:
        """Note how a transfer ended; its transfer-ended events follow."""
        line = ledger.ended(transfer_id, outcome, self._outside.now())
        self._ledger.apply(line)
        self._note(line)
        self._has_ended.set()

    async def run(self) -> None:
        """Work until cancelled: what failed and what ended wait for each other only where they must."""
        await asyncio.gather(
            self._whenever(self._has_failed, self._retry_round), self._whenever(self._has_ended, self._end_round)
        )

    async def settle(self) -> None:
        """Work until nothing is left to do."""
        await self._repeat(self._both_rounds)

    def close(self) -> None:
        """Let the journal go: delete it when nothing is open, else leave it to the next process."""
        if self._ledger.is_empty:
            self._journal.delete()
        else:
            self._journal.close()

    async def _whenever(self, is_due: asyncio.Event, work: Round) -> None:
        while True:
            await is_due.wait()
            is_due.clear()
            await self._repeat(work)

    async def _repeat(self, work: Round) -> None:
        wait_s = LEAST_WAIT_S
        while not await work():
            await self._outside.sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)

    async def _both_rounds(self) -> bool:
        is_retried = await self._retry_round()
        return await self._end_round() and is_retried

    async def _retry_round(self) -> bool:
        """Retry every failed intent once; True when none is left."""
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_within(gate, self._retry, one) for one in list(self._failed)))
        return not self._failed

    async def _end_round(self) -> bool:
        """Tell every end once; True when all are told that wait for nothing."""
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(_within(gate, self._publish_end, end) for end in self._ledger.ends()))
        if self._ledger.is_empty and self._journal.size_bytes:
            self._rewrite()
        return not self._ledger.ends()

    async def _retry(self, number: int) -> None:
        intent = self._ledger.intents[number]
        try:
            event = await self._outside.rebuild(intent)
        except Rejected as error:
            log.exception("heal_rejected", reason=error.reason, key=intent.key)
            self._give_up(number)
            return
        if event is None:
            if self._is_over(number):
                self._give_up(number)
            return
        await self._outside.events.publish(INSTANCE_STORED, event)
        self.done(number)
        GATEWAY_HEALED.inc()
        log.info("healed", transfer=intent.transfer_id, key=intent.key)

    def _is_over(self, number: int) -> bool:
        """True if the store has said for heal_s that the object is not there: a PUT may land late."""
        missed_at = self._failed[number]
        if missed_at is None:
            missed_at = self._failed[number] = self._outside.clock()
        return self._outside.clock() - missed_at >= self._outside.heal_s

    def _give_up(self, number: int) -> None:
        self._close(number, ledger.given_up(number), is_published=False)

    async def _publish_end(self, end: TransferEnd) -> None:
        await self._outside.events.publish(TRANSFER_ENDED, end.event)
        self._outside.reached("mid_transfer_end")
        line = ledger.end_published(end.transfer_id, end.study_uid)
        self._ledger.apply(line)
        self._note(line)

    def _close(self, number: int, line: ledger.Line, *, is_published: bool) -> None:
        self._failed.pop(number, None)
        if self._ledger.close(number, is_published=is_published):
            self._has_ended.set()
        self._note(line)
        GATEWAY_OUTBOX_OPEN.dec()

    def _note(self, line: ledger.Line) -> None:
        """Write what only spares the next process work that changes nothing: a disk that refuses stops nobody."""
        with _disk_refusals_logged():
            self._journal.append(line)
        if self._journal.size_bytes > max(REWRITE_BYTES, 2 * self._rewritten_bytes):
            self._rewrite()

    def _rewrite(self) -> None:
        with _disk_refusals_logged():
            self._journal.replace(self._ledger.snapshot())
        self._rewritten_bytes = self._journal.size_bytes


@contextmanager
def _disk_refusals_logged() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("outbox_refused", errno=error.errno)


async def _within(gate: asyncio.Semaphore, work: Callable[[T], Awaitable[None]], one: T) -> None:
    async with gate:
        with suppress(Unavailable):
            await work(one)


async def adopt(folder: Path, outside: OutboxPorts) -> None:
    """Finish, until cancelled, what processes leave here that end; none of them waits for another's."""
    async with asyncio.TaskGroup() as group:
        while True:
            with _disk_refusals_logged():
                for outbox in lost(folder, outside):
                    group.create_task(finish(outbox))
            await outside.sleep(ADOPT_S)


async def finish(outbox: Outbox) -> None:
    """Do all that is left of an outbox, and let its file go."""
    try:
        await outbox.settle()
    finally:
        outbox.close()


def lost(folder: Path, outside: OutboxPorts) -> Iterator[Outbox]:
    """Take over what processes that are gone left in this folder."""
    for journal in Journal.ownerless(folder):
        outbox = Outbox(journal, outside)
        try:
            outbox.inherit()
        except (ValueError, LookupError, TypeError, AttributeError):
            # Not ours to repair, and no reason not to start: kept under another name for a person to look at.
            log.exception("outbox_unreadable", file=journal.path.name)
            journal.set_aside()
            continue
        yield outbox
