"""Each way in which an object and its row may disagree is found by name, and nothing else is."""

from dataclasses import replace

import pytest

from operators.integrity.comparison import (
    KINDS,
    CatalogedObject,
    ContentBytes,
    Finding,
    StoredCopy,
    compare,
    counts,
    unchanged,
)

KEY = "local/1.2/1.2.1/1.2.1.1_aa.dcm"
GOOD = ContentBytes(1000, "prefix", "data")
SHORT = ContentBytes(900, "prefix", "other")
ALTERED = ContentBytes(1000, "prefix", "other")
MOVED = ContentBytes(1010, "longer prefix", "data")
ROW = CatalogedObject(KEY, "hot", GOOD)
HOT = StoredCopy(KEY, "hot", GOOD, GOOD)


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (HOT, None),
        (replace(HOT, read=SHORT), "size"),
        (replace(HOT, read=ALTERED), "hash"),
        (replace(HOT, read=None), "hash"),
        (replace(HOT, said=None), "envelope"),
        (replace(HOT, said=MOVED), "envelope"),
        (replace(HOT, said=None, read=ALTERED), "hash"),
        (replace(HOT, said=MOVED, read=MOVED), "stale"),
        (replace(HOT, said=MOVED, read=MOVED, is_new=True), None),
        (replace(HOT, read=ALTERED, is_new=True), "hash"),
    ],
)
def test_an_object_is_compared_with_its_row(copy: StoredCopy, kind: str | None) -> None:
    assert [(one.kind, one.tier) for one in compare([ROW], [copy])] == ([(kind, "hot")] if kind else [])


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (HOT, "unindexed"),
        (replace(HOT, is_new=True), None),
        (replace(HOT, read=ALTERED), "orphan"),
        (replace(HOT, read=None), "orphan"),
        (replace(HOT, said=None), "orphan"),
    ],
)
def test_an_object_without_a_row_is_unindexed_if_it_is_whole(copy: StoredCopy, kind: str | None) -> None:
    assert [one.kind for one in compare([], [copy])] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("row", "copies", "found"),
    [
        (ROW, [], [Finding("missing", KEY, "hot")]),
        (replace(ROW, tier=None), [], [Finding("missing", KEY, "")]),
        (replace(ROW, tier=None), [replace(HOT, tier="cold")], []),
        (ROW, [replace(HOT, tier="cold")], [Finding("missing", KEY, "hot", copy="cold")]),
        (ROW, [replace(HOT, tier="cold", read=None)], [Finding("hash", KEY, "cold"), Finding("missing", KEY, "hot")]),
        (ROW, [replace(HOT, read=None), replace(HOT, tier="warm")], [Finding("hash", KEY, "hot", copy="warm")]),
        (ROW, [HOT, replace(HOT, tier="warm")], []),
    ],
)
def test_another_tier_that_has_the_object_whole_is_named(
    row: CatalogedObject, copies: list[StoredCopy], found: list[Finding]
) -> None:
    assert list(compare([row], copies)) == found


def test_only_what_is_found_twice_counts() -> None:
    passing, lasting = Finding("missing", KEY, "hot"), Finding("hash", KEY, "hot")

    assert unchanged([passing, lasting], [lasting]) == (lasting,)
    assert unchanged([passing], [lasting]) == ()


def test_every_kind_is_counted() -> None:
    assert counts([Finding("hash", KEY, "hot")]) == {kind: int(kind == "hash") for kind in KINDS}
