"""A finding: one thing that is wrong in an archive."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong: its subject (UIDs, keys or places, never a patient's value) and why it is wrong."""

    subject: str
    why: str


Findings = Iterator[Finding]
