"""Laws of the comparison of objects with rows: what agrees has no finding, and each disagreement has its own, once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from operators.integrity.comparison import DAMAGED, CatalogedObject, ContentBytes, StoredCopy, compare

TIERS = ("hot", "warm", "cold")


@dataclass(frozen=True)
class Pair:
    """A row and the copies of its object."""

    row: CatalogedObject | None
    copies: tuple[StoredCopy, ...]
    kinds: tuple[str, ...] = field(default=())


def other(read: ContentBytes | None) -> ContentBytes:
    return ContentBytes(7, "no prefix", f"not {read}")


# What may happen to the copy that the row names: the pair afterwards, and the kind of what is found then.
TROUBLES: Mapping[str, Callable[[Pair], Pair]] = {
    "missing": lambda pair: replace(pair, copies=pair.copies[1:]),
    "size": lambda pair: with_first(pair, replace(pair.copies[0], read=other(pair.copies[0].read))),
    "hash": lambda pair: with_first(pair, replace(pair.copies[0], read=None)),
    "envelope": lambda pair: with_first(pair, replace(pair.copies[0], said=None)),
    "stale": lambda pair: with_first(pair, replace(pair.copies[0], said=other(None), read=other(None))),
    "unindexed": lambda pair: replace(pair, row=None, copies=pair.copies[:1]),
    "orphan": lambda pair: replace(pair, row=None, copies=(replace(pair.copies[0], read=None),)),
}


def with_first(pair: Pair, copy: StoredCopy) -> Pair:
    return replace(pair, copies=(copy, *pair.copies[1:]))


@st.composite
def pairs(draw: st.DrawFn) -> list[Pair]:
    """Some instances, each in one or more tiers, and each with at most one trouble."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        tiers = draw(st.permutations(TIERS))[: draw(st.integers(1, 3))]
        is_told = ContentBytes(1000 + number, f"prefix {number}", f"data {number}")
        key = f"local/1/1.{number}/x"
        copies = tuple(StoredCopy(key, tier, is_told, is_told) for tier in tiers)
        pair = Pair(CatalogedObject(key, tiers[0], is_told), copies)
        trouble = draw(st.sampled_from(["", *TROUBLES]))
        found.append(replace(TROUBLES[trouble](pair), kinds=(trouble,)) if trouble else pair)
    return found


@given(pairs(), st.randoms(use_true_random=False))
def test_each_disagreement_is_found_once_by_its_name_and_nothing_else(found: list[Pair], order: Random) -> None:
    rows = [pair.row for pair in found if pair.row]
    copies = [copy for pair in found for copy in pair.copies]
    order.shuffle(rows)
    order.shuffle(copies)

    expected = sorted(kind for pair in found for kind in pair.kinds)
    assert sorted(one.kind for one in compare(rows, copies)) == expected


@given(pairs())
def test_a_copy_that_is_named_is_whole_and_of_the_same_object(found: list[Pair]) -> None:
    copies = {(copy.key, copy.tier): copy for pair in found for copy in pair.copies}

    for one in compare([pair.row for pair in found if pair.row], copies.values()):
        if one.copy:
            assert one.copy != one.tier
            assert copies[one.key, one.copy].read is not None


@given(pairs())
def test_what_is_damaged_is_damaged_however_new_it_is(found: list[Pair]) -> None:
    rows, copies = [pair.row for pair in found if pair.row], [copy for pair in found for copy in pair.copies]
    new = [replace(copy, is_new=True) for copy in copies]

    damaged = [one for one in compare(rows, copies) if one.kind in DAMAGED]
    assert [one for one in compare(rows, new) if one.kind in DAMAGED] == damaged
