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
    with full_disk(), pytest.raises(OSError, match=r"too large|only a part"), journal.replacement() as replacement:
        replacement.add([{"kind": "x" * 9000}])

    with journal.replacement() as replacement:
        replacement.add([{"kind": "begun"}])
        os.close(replacement.finish())

    assert list(journal.lines()) == [(0, b'{"kind":"begun"}\n')]
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == [journal.path]


def test_a_replacement_gets_what_is_appended_before_it_is_finished(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    journal.append({"kind": "closed long ago"})
    with journal.replacement() as replacement:
        places = replacement.add([{"kind": "a"}, {"kind": "b"}])
        behind = journal.append({"kind": "meanwhile"})
        shift = replacement.size_bytes - replacement.begun_at_bytes
        os.close(replacement.finish())
    journal.append({"kind": "later"})

    assert [line for _, line in journal.lines()] == [
        b'{"kind":"a"}\n',
        b'{"kind":"b"}\n',
        b'{"kind":"meanwhile"}\n',
        b'{"kind":"later"}\n',
    ]
    assert [journal.read(place)["kind"] for place in (*places, behind + shift)] == ["a", "b", "meanwhile"]


def test_a_line_of_any_length_is_read_again(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    lines = [{"kind": "x" * length} for length in (1, 2030, 2040, 9000, 3)]
    places = [journal.append(line) for line in lines]

    assert [journal.read(place) for place in reversed(places)] == lines[::-1]


def test_a_line_that_is_no_longer_what_was_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    place = journal.append({"kind": "intent"})
    journal.path.write_bytes(bytes(30))

    with pytest.raises(OSError, match="cannot be read again"):
        journal.read(place)


def test_unfinished_journals_are_removed_once_they_are_old(tmp_path: Path) -> None:
    old, young = tmp_path / "a.new", tmp_path / "b.new"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))

    assert Journal.paths(tmp_path) == []

    assert list(tmp_path.iterdir()) == [young]
