"""The comparison of a study's stored objects with its rows in the catalog."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

# What may be wrong, from what hurts most. `missing`: the tier that a row names has no such object. `size`, `hash`: the
# bytes have another size, or other content, than they were stored with, or cannot be read. `envelope`: the bytes are
# right, and the metadata beside them are not, so that no event could be rebuilt. `stale`: the object is whole, and its row
# describes an earlier one. `unindexed`: the object is whole, and has no row. `orphan`: no row names the object, and it is
# no whole instance.
Kind = Literal["missing", "size", "hash", "envelope", "stale", "unindexed", "orphan"]
KINDS: tuple[Kind, ...] = ("missing", "size", "hash", "envelope", "stale", "unindexed", "orphan")
# The kinds whose object is served wrong: it is marked. Those of which a publication of the object's event makes a row.
DAMAGED: frozenset[Kind] = frozenset({"size", "hash"})
REPAIRED_BY_EVENT: frozenset[Kind] = frozenset({"stale", "unindexed"})
# Those of an object whose bytes can be served in place of a damaged one; None: nothing is wrong.
SERVED: frozenset[Kind | None] = frozenset({None, "envelope", "unindexed"})


class ContentBytes(NamedTuple):
    """The bytes of an object by their size, the hash of preamble and file meta, and the data hash."""

    size_bytes: int
    prefix_hash: str
    data_hash: str


# A row of a command says nothing of the bytes of its object: it is there, and can be read, or not.
UNDESCRIBED = ContentBytes(0, "", "")


@dataclass(frozen=True)
class CatalogedObject:
    """An object as a row describes it; `tier` is None for a row that does not say in which tier its object is."""

    key: str
    tier: str | None
    described: ContentBytes


@dataclass(frozen=True)
class StoredCopy:
    """An object of an instance's key as it is in one tier.

    `said` is what its key and its envelope say, None if there is no envelope; `read` is what its bytes are, None if the
    store does not give them. An object that is new may have no row yet. `modified_at` is when the store took it.
    """

    key: str
    tier: str
    said: ContentBytes | None
    read: ContentBytes | None
    is_new: bool = False
    modified_at: datetime | None = None

    @property
    def is_whole(self) -> bool:
        """True if the bytes are those that the envelope and the key say."""
        return self.read is not None and self.read == self.said


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with an object or a row.

    `copy` is another tier that has the same object whole, empty if none has.
    """

    kind: Kind
    key: str
    tier: str
    copy: str = ""


def compare(rows: Collection[CatalogedObject], copies: Collection[StoredCopy]) -> tuple[Finding, ...]:
    """Return what is wrong with the objects and the rows of a study, in the order of keys and tiers."""
    by_key: defaultdict[str, list[StoredCopy]] = defaultdict(list)
    for copy in copies:
        by_key[copy.key].append(copy)
    row_of = {row.key: row for row in rows}
    found = [one for key in sorted({*by_key, *row_of}) for one in _of_key(row_of.get(key), by_key[key])]
    return tuple(sorted(found, key=lambda one: (one.key, one.tier)))


def _of_key(row: CatalogedObject | None, copies: Sequence[StoredCopy]) -> Iterator[Finding]:
    if row is None:
        kinds = {copy.tier: _without_row(copy) for copy in copies}
    else:
        kinds = {copy.tier: _with_row(copy, row.described) for copy in copies}
        if row.tier not in kinds and (row.tier or not kinds):
            kinds[row.tier or ""] = "missing"
    whole = [copy.tier for copy in copies if kinds[copy.tier] in SERVED]
    key = row.key if row else copies[0].key
    for tier, kind in kinds.items():
        if kind:
            yield Finding(kind, key, tier, next((other for other in whole if other != tier), ""))


def _without_row(copy: StoredCopy) -> Kind | None:
    if copy.is_new:
        return None
    return "unindexed" if copy.is_whole else "orphan"


def _with_row(copy: StoredCopy, described: ContentBytes) -> Kind | None:
    if copy.read == described:
        return None if copy.is_whole else "envelope"
    if copy.is_whole:
        # An object that has replaced another a moment ago may not be in its row yet.
        return None if copy.is_new else "stale"
    return "size" if copy.read and copy.read.size_bytes != described.size_bytes else "hash"


def unchanged(first: Collection[Finding], second: Collection[Finding]) -> tuple[Finding, ...]:
    """Return what was found at a second look as at the first: objects move, and rows follow, while they are compared."""
    before = set(first)
    return tuple(one for one in second if one in before)


def counts(findings: Collection[Finding]) -> Mapping[Kind, int]:
    """Return how many findings of each kind there are, of kinds without one too."""
    return {kind: sum(one.kind == kind for one in findings) for kind in KINDS}
