"""The judge: a pure function from a snapshot of an archive to a verdict.

Written from the guarantees alone (docs/guarantees.md); it imports nothing of the product, so that it cannot share its
mistakes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.audit.checks.accounting import accounted
from tests.audit.checks.commands import unchosen, unrecorded
from tests.audit.checks.counts import drift
from tests.audit.checks.decisions import undecided
from tests.audit.checks.events import unbacked, unraised, unreadable
from tests.audit.checks.instances import acked, doubled, lost, mismatch, orphan, phantom, unindexed
from tests.audit.checks.leaks import phi
from tests.audit.checks.quarantine import quarantine
from tests.audit.checks.revisions import closures
from tests.audit.checks.tenants import foreign
from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Snapshot


@dataclass(frozen=True)
class Verdict:
    """The findings in an archive by set, how much was looked at, and how many seconds each part took."""

    sets: Mapping[str, tuple[Finding, ...]]
    seen: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """True if nothing is wrong."""
        return not any(self.sets.values())

    @property
    def line(self) -> str:
        """Return the verdict in one line."""
        acked = f"{self.seen['acked']} acknowledged of {self.seen['planned']} sent"
        acked += f", {put_off} reads put off with 503" if (put_off := self.seen["put off with 503"]) else ""
        if self.clean:
            return f"clean: {acked}, {self.seen['hashed']} objects hashed, {self.seen['revisions']} revisions"
        wrong = ", ".join(f"{len(found)} {name}" for name, found in self.sets.items() if found)
        return f"NOT CLEAN: {wrong} ({acked})"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        sets = {name: [vars(one) for one in found] for name, found in self.sets.items()}
        return {
            "verdict": self.line,
            "clean": self.clean,
            "seen": dict(self.seen),
            "seconds": dict(self.seconds),
            "sets": sets,
        }


def judge(snapshot: Snapshot) -> Verdict:
    """Return everything that is wrong in a snapshot."""
    sets = {name: tuple(sorted(set(find(snapshot)))) for name, find in SETS.items()}
    return Verdict(sets, seen(snapshot))


def seen(snapshot: Snapshot) -> dict[str, int]:
    """Return how much of each kind was looked at."""
    return {
        "planned": len(snapshot.ledger),
        "acked": len(acked(snapshot)),
        "objects": len(snapshot.objects),
        "hashed": sum(one.read for one in snapshot.objects.values()),
        "hashed before": snapshot.known_objects,
        "rows": len(snapshot.rows),
        "conflicts": len(snapshot.conflict_keys),
        "quarantine": len(snapshot.quarantine_rows),
        "studies": len(snapshot.study_counts),
        "revisions": len(snapshot.revisions),
        "settled": len(snapshot.settled_events),
        "documents": len(snapshot.documents),
        "commands": len(snapshot.commands),
        "dues": len(snapshot.dues),
        "announced": len(snapshot.stored_events),
        "rejected": len(snapshot.dead_letters),
        "answered": len(snapshot.qido_instances),
        "fetched": len(snapshot.wado_hashes),
        "put off with 503": snapshot.retried_reads,
    }


SETS: Mapping[str, Callable[[Snapshot], Findings]] = {
    "lost": lost,
    "unindexed": unindexed,
    "doubled": doubled,
    "phantom": phantom,
    "orphan": orphan,
    "mismatch": mismatch,
    "closures": closures,
    "accounted": accounted,
    "drift": drift,
    "unbacked": unbacked,
    "quarantine": quarantine,
    "unraised": unraised,
    "unchosen": unchosen,
    "unrecorded": unrecorded,
    "undecided": undecided,
    "foreign": foreign,
    "unreadable": unreadable,
    "phi": phi,
}
