"""Checks of events: each has its object, each conflict was announced, each record can be decoded."""

from tests.audit.checks.decisions import commands_without_object
from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Snapshot


def unbacked(snapshot: Snapshot) -> Findings:
    """Find events without their object: the one inconsistency that may never be, at any time."""
    for event in snapshot.stored_events:
        if event.object_key not in snapshot.objects:
            yield Finding(str(event.name), "announced, no object")
    yield from commands_without_object(snapshot)


def unraised(snapshot: Snapshot) -> Findings:
    """Find conflicts without their event: other bytes under one UID are never kept silently."""
    for name, data_hash in snapshot.conflicts:
        if (name, data_hash) not in snapshot.announced_conflicts:
            yield Finding(str(name), "a conflict that was never announced")


def unreadable(snapshot: Snapshot) -> Findings:
    """Find records that no schema decodes and that no job has dead-lettered (I5)."""
    dead = {place for _, place in snapshot.dead_letters}
    for place in snapshot.unreadable:
        if place not in dead:
            yield Finding(str(place), "no schema reads it")
