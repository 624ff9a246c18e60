"""A body's hashes are those of all its bytes wherever they lie; limits keep nothing."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.spool import Body, Room, SpoolLimits
from operators.errors import Rejected, Unavailable
from schemas.telemetry import GATEWAY_SPOOLED_BYTES

PREFIX = b"prefix"

FullDisk = Callable[[], AbstractContextManager[None]]


def body(folder: Path, room: Room, *, memory_bytes: int = 100, most_bytes: int = 1000) -> Body:
    return Body(PREFIX, hashlib.sha256(), room, SpoolLimits(memory_bytes, most_bytes, folder))


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=12))
def test_hashes_and_content_do_not_depend_on_pieces_or_place(pieces: list[bytes]) -> None:
    room, whole = Room(10_000), b"".join(pieces)
    taken = body(Path("/tmp"), room)

    for piece in pieces:
        taken.write(memoryview(piece))

    with taken.opened() as data:
        assert bytes(data) == whole
    assert room.spooled_bytes == (len(whole) if len(whole) > 100 else 0)
    assert taken.data_hash == hashlib.sha256(whole).hexdigest()
    assert taken.crc32c == google_crc32c.value(PREFIX + whole)
    taken.close()
    assert room.held_bytes == 0


def test_a_spooled_body_leaves_no_name_behind(tmp_path: Path) -> None:
    room = Room(10_000)
    taken = body(tmp_path, room)

    taken.write(memoryview(b"x" * 500))

    assert room.spooled_bytes == 500
    assert list(tmp_path.iterdir()) == []
    taken.close()


def test_a_full_process_spools_what_would_fit(tmp_path: Path) -> None:
    room = Room(50, held_bytes=50)
    taken = body(tmp_path, room)

    taken.write(memoryview(b"x"))

    assert (room.spooled_bytes, room.held_bytes) == (1, 50 + len(PREFIX))
    taken.close()


@pytest.mark.parametrize(("folder", "most_bytes", "error"), [("", 10, Rejected), ("missing", 1000, Unavailable)])
def test_a_failed_body_keeps_nothing_and_says_why(
    tmp_path: Path, folder: str, most_bytes: int, error: type[Exception]
) -> None:
    room = Room(10_000)
    taken = body(tmp_path / folder, room, memory_bytes=5, most_bytes=most_bytes)

    taken.write(memoryview(b"x" * 4))
    taken.write(memoryview(b"x" * 20))
    taken.write(memoryview(b"x"))

    assert isinstance(taken.failed, error)
    assert room.held_bytes == 0
    assert taken.size_bytes == 25


def test_a_full_disk_is_kept_in_mind_and_never_raised_while_writing(tmp_path: Path, full_disk: FullDisk) -> None:
    taken = body(tmp_path, Room(10_000), most_bytes=10**6)

    with full_disk():
        for _ in range(20):
            taken.write(memoryview(bytes(1000)))

    assert isinstance(taken.failed, Unavailable)


def test_what_the_disk_refuses_late_is_unavailable_and_closes_all_the_same(tmp_path: Path, full_disk: FullDisk) -> None:
    taken = body(tmp_path, Room(10_000), most_bytes=10**6)
    for _ in range(6):
        taken.write(memoryview(bytes(1000)))

    with full_disk():
        with pytest.raises(Unavailable), taken.opened():
            pass
        taken.close()

    with taken.opened() as data:
        assert len(data) == 0


def test_nothing_at_all_needs_no_file(tmp_path: Path) -> None:
    taken = body(tmp_path, Room(0))
    taken.write(memoryview(b""))

    with taken.opened() as data:
        assert len(data) == 0


def test_what_comes_before_a_data_set_takes_room_too(tmp_path: Path) -> None:
    room = Room(10_000)
    taken = body(tmp_path, room)
    taken.write(memoryview(b"four"))
    held = room.held_bytes
    taken.close()
    taken.close()

    assert (held, room.held_bytes) == (len(PREFIX) + 4, 0)


def test_bodies_share_a_spool_and_what_it_has_no_room_for_is_to_be_sent_again(tmp_path: Path) -> None:
    room, before = Room(10_000, most_spooled_bytes=1000), GATEWAY_SPOOLED_BYTES._value.get()
    first, second, third = (body(tmp_path, room) for _ in range(3))
    first.write(memoryview(bytes(600)))
    second.write(memoryview(bytes(90)))
    second.write(memoryview(bytes(311)))
    assert (room.spooled_bytes, GATEWAY_SPOOLED_BYTES._value.get() - before) == (600, 600)
    first.close()
    third.write(memoryview(bytes(1000)))

    assert isinstance(second.failed, Unavailable)
    assert (first.failed, third.failed, room.spooled_bytes) == (None, None, 1000)
    third.close()
    assert (room.spooled_bytes, room.held_bytes, GATEWAY_SPOOLED_BYTES._value.get()) == (0, 0, before)
