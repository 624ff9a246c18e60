"""Which content of an instance is shown: the same answer in whatever order, and however often, contents came."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from operators.catalog.rows import ConflictRow, Content


@dataclass(frozen=True)
class Contents:
    """All that came under one instance's UIDs: what is shown, and what lost."""

    shown: Content
    lost: tuple[ConflictRow, ...]


def merge(known: Iterable[Content], came: Iterable[Content]) -> Contents:
    """Choose between everything known and come (at least one) under one instance's UIDs.

    Of one content's repeats the first is kept. Shown is the minimum of (stored_at, data hash).
    """
    first: dict[str, Content] = {}
    for content in (*known, *came):
        other = first.get(content.data_hash)
        if other is None or precedence(content) < precedence(other):
            first[content.data_hash] = content
    shown = min(first.values(), key=precedence)
    return Contents(shown, tuple(_conflict(shown, one) for one in first.values() if one is not shown))


def precedence(content: Content) -> tuple[datetime, str, str]:
    """Return what orders contents: the least is shown. The transfer only keeps repeats of one content in order."""
    return content.stored_at, content.data_hash, content.transfer_id


def kind(shown: Content, lost: Content) -> str:
    """Return how a content differs from the one that is shown."""
    if (lost.patient_id or "") != (shown.patient_id or ""):
        return "patient"
    return "re-encoded" if lost.transfer_syntax != shown.transfer_syntax else "content"


def _conflict(shown: Content, lost: Content) -> ConflictRow:
    return ConflictRow(**{**lost.__dict__, "kind": kind(shown, lost)})
