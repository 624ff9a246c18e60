"""Checks for leaks: no patient's token stands outside the stores of patient data."""

from collections.abc import Iterable, Iterator

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Snapshot


def phi(snapshot: Snapshot) -> Findings:
    """Find patient data outside the stores of patient data (I8)."""
    for place in snapshot.leaks:
        yield Finding(place, "a patient's token")


def leaks(tokens: Iterable[str], sinks: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Yield the names of the (name, bytes) pairs in whose bytes a token stands, in upper or lower case."""
    wanted = [token.lower().encode() for token in tokens if token]
    for place, data in sinks:
        folded = data.lower()
        if any(token in folded for token in wanted):
            yield place
