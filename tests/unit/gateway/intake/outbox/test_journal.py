"""A journal works again after a full disk, and leaves no unfinished files."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gateway.intake.outbox.journal import Journal

FullDisk = Callable[[], AbstractContextManager[None]]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_rewrite_works_again_after_the_disk_was_full(tmp_path: Path, full_disk: FullDisk) -> None:
    journal = Journal.create(tmp_path)
    before = descriptors()
    with full_disk(), pytest.raises(OSError, match="too large"):
        journal.replace([{"kind": "x" * 9000}])

    journal.replace([{"kind": "begun"}])

    assert list(journal.lines()) == [{"kind": "begun"}]
    assert descriptors() == before


def test_unfinished_journals_are_removed_once_they_are_old(tmp_path: Path) -> None:
    old, young = tmp_path / "a.new", tmp_path / "b.new"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))

    assert list(Journal.ownerless(tmp_path)) == []

    assert list(tmp_path.iterdir()) == [young]
