"""The choice of an instance's shown content, and of the object that its row describes.

Neither depends on the order of arrival or on repeats. Which content is shown is a matter of what was stored first, unless
somebody has chosen one by a command. But a
content whose object was lost or damaged may have been stored again behind another prefix (preamble and file meta), and
what can be read is the object that the store took last: by the events' `occurred_at`, since a PUT that is carried out late
brings an object that is dated earlier than the one whose place it takes. So of the events of one content the first gives
it its place in the order, and the last the size and the prefix of its object.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from operators.catalog.rows import ConflictRow, Content

# The columns that the object which was stored last decides; with the data set, they decide where its frames are.
PLACEMENT = ("last_stored_at", "prefix_hash", "size_bytes")


class Precedence(NamedTuple):
    """The place of a content among all contents of its instance: the least is shown."""

    stored_at: datetime
    data_hash: str


# The moment that stands for that of a chosen content, which precedes all others.
CHOSEN_AT = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Contents:
    """All contents that arrived under one instance's UIDs: the shown one, and the others."""

    shown: Content
    lost: tuple[ConflictRow, ...]


def merge(known: Iterable[Content], arrived: Iterable[Content], chosen: str | None = None) -> Contents:
    """Return the shown content among all that are known or have arrived under one instance's UIDs, at least one.

    It is the one with the data hash `chosen`, else the minimum of (stored_at, data hash). A content that is repeated has the values of PLACEMENT of its greatest
    by placement(), and all others of its least by precedence().
    """
    joined: dict[str, Content] = {}
    for content in (*known, *arrived):
        other = joined.get(content.data_hash)
        joined[content.data_hash] = _joined(other, content) if other else content
    shown = joined[chosen] if chosen in joined else min(joined.values(), key=precedence)
    lost = tuple(_conflict(shown, other) for other in joined.values() if other is not shown)
    return Contents(_without_kind(shown), lost)


def precedence(content: Content) -> tuple[datetime, str, str]:
    """Return the key that orders contents: the least is shown. The transfer id orders the repeats of one content."""
    return content.stored_at, content.data_hash, content.transfer_id


def placement(content: Content) -> tuple[datetime, str, int]:
    """Return the key that orders the repeats of one content by their objects: the greatest is the one that is there.

    Two objects of one content that were dated alike can differ only in their prefixes.
    """
    return content.last_stored_at, content.prefix_hash, content.size_bytes


def conflict_kind(shown: Content, lost: Content) -> str:
    """Return how a content differs from the shown one: in its patient, its transfer syntax, or its data alone."""
    if (lost.patient_id or "") != (shown.patient_id or ""):
        return "patient"
    return "re-encoded" if lost.transfer_syntax != shown.transfer_syntax else "content"


def _joined(one: Content, other: Content) -> Content:
    last = max(one, other, key=placement)
    return replace(min(one, other, key=precedence), **{name: getattr(last, name) for name in PLACEMENT})


def _without_kind(content: Content) -> Content:
    """Return the content itself of what was a conflict until it was chosen."""
    if not isinstance(content, ConflictRow):
        return content
    return Content(**{name: value for name, value in content.__dict__.items() if name != "kind"})


def _conflict(shown: Content, lost: Content) -> ConflictRow:
    return ConflictRow(**{**lost.__dict__, "kind": conflict_kind(shown, lost)})
