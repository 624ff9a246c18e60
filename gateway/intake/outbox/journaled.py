"""A ledger and its journal: each change is written and applied, so that the file always leads to the same state."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

import orjson
import structlog

from gateway.intake.outbox import ledger
from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.ledger import AnyIntent, DocumentIntent, Intent, Ledger
from gateway.intake.transfer import NOBODY, Sender
from schemas.events import Outcome
from schemas.objects import Envelope, Identity
from schemas.telemetry import DOCUMENTS_WAITING, GATEWAY_OUTBOX_OPEN, GATEWAY_OUTBOX_TROUBLE

# A journal is rewritten when it is longer than this, and twice as long as after the last rewriting.
REWRITE_BYTES = 8 * 2**20
# How many lines are read or written in one turn of the event loop: about 3 ms.
LINES_A_TURN = 100

log = structlog.get_logger()


class JournaledLedger:
    """A ledger (`open`) whose lines are in a journal.

    What an answer to a sender rests on raises OSError when the disk fails or is full: then nothing has changed. All
    other lines are written if the disk takes them: without the line another process only repeats work, which changes
    nothing. `has_grown` is set when the journal should be rewritten.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.open = Ledger(journal.read)
        self.has_grown = asyncio.Event()
        # False for the journal of a dead process until it is read: its lines are not known.
        self._is_read = not journal.size_bytes
        self._last_number = 0
        self._rewritten_bytes = 0
        self._is_rewriting = False
        self._is_disk_failing = False

    async def read(self) -> None:
        """Apply the lines of a dead process; those that cannot be understood are set aside. Raises OSError."""
        lines = self.journal.lines()
        while part := list(islice(lines, LINES_A_TURN)):
            self._apply_readable(part)
            await asyncio.sleep(0)
        self._is_read = True
        self._last_number = max(self.open.intents, default=0)
        GATEWAY_OUTBOX_OPEN.inc(len(self.open.intents))
        DOCUMENTS_WAITING.inc(len(self.open.documents))

    def begin(self, transfer_id: str, tenant: str, began_at: datetime, sender: Sender = NOBODY) -> None:
        """Record that a transfer began; raises OSError."""
        line = ledger.begun(transfer_id, tenant, began_at, sender)
        self.open.apply(line, self.journal.append(line))

    def intend(self, transfer_id: str, identity: Identity, key: str, envelope: Envelope) -> Intent:
        """Record a new intent, and return it; raises OSError."""
        intent = Intent(self._last_number + 1, transfer_id, identity, key, envelope)
        place = self.journal.append(ledger.intended(intent))
        self._last_number = intent.number
        self.open.intend(intent, place)
        GATEWAY_OUTBOX_OPEN.inc()
        return intent

    def intend_document(self, kind: str, key: str) -> DocumentIntent:
        """Record a new intent of a document, and return it; raises OSError."""
        intent = DocumentIntent(self._last_number + 1, kind, key)
        place = self.journal.append(ledger.documented(intent))
        self._last_number = intent.number
        self.open.intend_document(intent, place)
        GATEWAY_OUTBOX_OPEN.inc()
        DOCUMENTS_WAITING.inc()
        return intent

    def close_intent(self, intent: AnyIntent, *, is_published: bool, size_bytes: int | None = None) -> bool:
        """Record that an intent is closed; True if ends of its transfer can be published from now on.

        `size_bytes` is the size of the object whose event was published.
        """
        is_over = self.open.close(intent, is_published=is_published, size_bytes=size_bytes)
        line = ledger.done(intent.number, size_bytes) if is_published else ledger.given_up(intent.number)
        self._record_if_possible(line)
        GATEWAY_OUTBOX_OPEN.dec()
        if isinstance(intent, DocumentIntent):
            DOCUMENTS_WAITING.dec()
        return is_over

    def end(
        self, transfer_id: str, outcome: Outcome, ended_at: datetime, refused: Mapping[str, int] | None = None
    ) -> None:
        """Record how a transfer ended."""
        self._apply_and_record(ledger.ended(transfer_id, outcome, ended_at, refused))

    def end_published(self, transfer_id: str, study_uid: str) -> None:
        """Record that the end of a transfer for one study was published."""
        self._apply_and_record(ledger.end_published(transfer_id, study_uid))

    def set_aside(self, intent: AnyIntent) -> Path:
        """Keep the line of an intent in a file for a person to examine; return its path. Raises OSError."""
        line = ledger.documented(intent) if isinstance(intent, DocumentIntent) else ledger.intended(intent)
        return self.journal.set_aside([orjson.dumps(line) + b"\n"])

    async def clear(self) -> None:
        """Remove the lines of the journal if nothing is open."""
        if not self.open.is_empty or self._is_rewriting or not self.journal.size_bytes:
            return
        if self.journal.size_bytes > REWRITE_BYTES:
            await self.rewrite()
            return
        try:
            self.journal.clear()
        except OSError as error:
            self._note_failure(error)

    async def rewrite(self) -> None:
        """Write the journal anew with the lines of what is open alone; lines may be written meanwhile.

        It stays as it is when the disk fails or is full.
        """
        self._is_rewriting = True
        try:
            await self._rewrite()
        except OSError as error:
            self._note_failure(error)
        finally:
            self._is_rewriting = False
        self._rewritten_bytes = self.journal.size_bytes

    def close(self) -> None:
        """Close the journal: delete it when nothing is left to do, else leave it to another process."""
        if self._is_read and self.open.is_empty:
            self.journal.delete()
            return
        if self._is_read:
            GATEWAY_OUTBOX_OPEN.dec(len(self.open.intents))
            DOCUMENTS_WAITING.dec(len(self.open.documents))
        self.journal.close()

    def _apply_and_record(self, line: ledger.Line) -> None:
        self.open.apply(line)
        self._record_if_possible(line)

    def _record_if_possible(self, line: ledger.Line) -> None:
        try:
            self.journal.append(line)
        except OSError as error:
            self._note_failure(error)
        else:
            self._is_disk_failing = False
        if not self._is_rewriting and self.journal.size_bytes > max(REWRITE_BYTES, 2 * self._rewritten_bytes):
            self.has_grown.set()

    def _note_failure(self, error: OSError) -> None:
        """Log the first failure of a disk that fails again and again."""
        if not self._is_disk_failing:
            log.warning("journal_write_failed", errno=error.errno)
        self._is_disk_failing = True

    async def _rewrite(self) -> None:
        snapshot = self.open.snapshot()
        with self.journal.replacement() as replacement:
            while lines := list(islice(snapshot, LINES_A_TURN)):
                self.open.copied(zip(lines, replacement.add(lines), strict=True))
                await asyncio.sleep(0)
            shift = replacement.size_bytes - replacement.begun_at_bytes
            replaced = replacement.finish()
        self.open.move(shift)
        # Closing the last descriptor of a long file without a name frees its blocks: 50 ms for 70 MB.
        await asyncio.to_thread(os.close, replaced)

    def _apply_readable(self, lines: list[tuple[int, bytes]]) -> None:
        unreadable = [line for place, line in lines if not self._is_applied(place, line)]
        if unreadable:
            aside = self.journal.set_aside(unreadable)
            GATEWAY_OUTBOX_TROUBLE.labels("line").inc(len(unreadable))
            log.error("outbox_lines_unreadable", lines=len(unreadable), kept_in=aside.name)

    def _is_applied(self, place: int, line: bytes) -> bool:
        """Apply a line; False if it cannot be understood. Raises OSError when an earlier line cannot be read again."""
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            self.open.apply(orjson.loads(line), place)
            return True
        return False
