"""The choice of an instance's shown content: it depends neither on the order of arrival nor on repeats."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from operators.catalog.rows import ConflictRow, Content


@dataclass(frozen=True)
class Contents:
    """All contents that arrived under one instance's UIDs: the shown one, and the others."""

    shown: Content
    lost: tuple[ConflictRow, ...]


def merge(known: Iterable[Content], arrived: Iterable[Content]) -> Contents:
    """Choose the shown content among all that are known or have arrived under one instance's UIDs, at least one.

    It is the minimum of (stored_at, data hash). If a content is repeated, the least by precedence() is kept.
    """
    first: dict[str, Content] = {}
    for content in (*known, *arrived):
        other = first.get(content.data_hash)
        if other is None or precedence(content) < precedence(other):
            first[content.data_hash] = content
    shown = min(first.values(), key=precedence)
    return Contents(shown, tuple(_conflict(shown, other) for other in first.values() if other is not shown))


def precedence(content: Content) -> tuple[datetime, str, str]:
    """Return the key that orders contents: the least is shown. The transfer id orders the repeats of one content."""
    return content.stored_at, content.data_hash, content.transfer_id


def conflict_kind(shown: Content, lost: Content) -> str:
    """Return how a content differs from the shown one: in its patient, its transfer syntax, or its data alone."""
    if (lost.patient_id or "") != (shown.patient_id or ""):
        return "patient"
    return "re-encoded" if lost.transfer_syntax != shown.transfer_syntax else "content"


def _conflict(shown: Content, lost: Content) -> ConflictRow:
    return ConflictRow(**{**lost.__dict__, "kind": conflict_kind(shown, lost)})
