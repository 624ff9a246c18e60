"""An archive under test, and the proof that it has kept its promises: ledger and auditor together."""

import time
from dataclasses import dataclass
from pathlib import Path

from deploy.local.running import RunningStack
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.support.machine.running_stack import address_of
from tests.support.senders.sender import Peer, Tally, send

# How long things may still happen after the last answer: a lost transfer keeps its study open for half a minute.
BOUND_S = 120.0


@dataclass(frozen=True)
class Proof:
    """An archive under test, and the ledger of everything that was sent to it."""

    archive: RunningStack
    ledger: Ledger

    @property
    def peer(self) -> Peer:
        """Return the address of the DIMSE door."""
        return Peer(self.archive.dimse_port)

    def send(self, paths: list[Path]) -> Tally:
        """Send files until all are acknowledged."""
        return send(paths, self.peer, self.ledger)

    def wrong(self, wait_s: float = BOUND_S) -> dict[str, list[str]]:
        """Audit the archive until nothing is wrong or `wait_s` are over; return the findings by set."""
        until = time.monotonic() + wait_s
        sets = audit(address_of(self.archive), [self.ledger.path], wait_s=wait_s).sets
        found = {name: [f"{one.subject}: {one.why}" for one in findings] for name, findings in sets.items() if findings}
        # The audit's last look reads the topics before the tables: a study may have become due in between.
        left_s = until - time.monotonic()
        return self.wrong(left_s) if found and left_s > 0 else found
