"""A body's hashes are those of all its bytes, in memory or in a file; a body beyond a limit holds no bytes."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.spool import UNHASHED_BYTES, Body, Buffer, Room, SpoolLimits
from operators.errors import Rejected, Unavailable
from schemas.telemetry import GATEWAY_SPOOLED_BYTES

PREFIX = b"prefix"

FullDisk = Callable[[], AbstractContextManager[None]]


def body(folder: Path, room: Room, *, memory_bytes: int = 100, most_bytes: int = 1000) -> Body:
    return Body(PREFIX, hashlib.sha256(), room, SpoolLimits(memory_bytes, most_bytes, folder))


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=12))
def test_hashes_and_content_do_not_depend_on_pieces_or_on_memory_and_file(pieces: list[bytes]) -> None:
    room, whole = Room(10_000), b"".join(pieces)
    received = body(Path("/tmp"), room)

    for piece in pieces:
        received.write(memoryview(piece))

    with received.opened() as data:
        assert bytes(data) == whole
    assert room.spooled_bytes == (len(whole) if len(whole) > 100 else 0)
    assert received.data_hash == hashlib.sha256(whole).hexdigest()
    assert received.crc32c == google_crc32c.value(PREFIX + whole)
    received.close()
    assert room.held_bytes == 0


def test_a_closed_body_keeps_the_hashes_of_what_had_arrived() -> None:
    received = body(Path("/tmp"), Room(10_000))
    received.write(memoryview(b"received"))

    received.close()

    assert received.whole_hash == hashlib.sha256(b"received").hexdigest()
    assert received.crc32c == google_crc32c.value(PREFIX + b"received")


def test_a_body_in_memory_is_hashed_once_its_unhashed_bytes_are_many() -> None:
    sizes: list[int] = []

    class Recorder:
        def update(self, data: Buffer, /) -> None:
            sizes.append(len(data))

        def hexdigest(self) -> str:
            return ""

    piece = memoryview(bytes(UNHASHED_BYTES // 2))
    received = Body(PREFIX, Recorder(), Room(2**30), SpoolLimits(2**30, 2**30, Path("/tmp")))

    for _ in range(3):
        received.write(piece)
    assert received.data_hash == ""

    assert sizes == [UNHASHED_BYTES, UNHASHED_BYTES // 2]


def test_the_file_of_a_body_has_no_name(tmp_path: Path) -> None:
    room = Room(10_000)
    received = body(tmp_path, room)

    received.write(memoryview(b"x" * 500))

    assert room.spooled_bytes == 500
    assert list(tmp_path.iterdir()) == []
    received.close()


def test_a_process_without_free_memory_spools_even_small_bodies(tmp_path: Path) -> None:
    room = Room(50, held_bytes=50)
    received = body(tmp_path, room)

    received.write(memoryview(b"x"))

    assert (room.spooled_bytes, room.held_bytes) == (1, 50 + len(PREFIX))
    received.close()


@pytest.mark.parametrize(("folder", "most_bytes", "error"), [("", 10, Rejected), ("missing", 1000, Unavailable)])
def test_a_failed_body_holds_no_bytes_and_has_an_error(
    tmp_path: Path, folder: str, most_bytes: int, error: type[Exception]
) -> None:
    room = Room(10_000)
    received = body(tmp_path / folder, room, memory_bytes=5, most_bytes=most_bytes)

    received.write(memoryview(b"x" * 4))
    received.write(memoryview(b"x" * 20))
    received.write(memoryview(b"x"))

    assert isinstance(received.failed, error)
    assert room.held_bytes == 0
    assert received.size_bytes == 25


def test_a_full_disk_fails_the_body_and_raises_nothing(tmp_path: Path, full_disk: FullDisk) -> None:
    received = body(tmp_path, Room(10_000), most_bytes=10**6)

    with full_disk():
        for _ in range(20):
            received.write(memoryview(bytes(1000)))

    assert isinstance(received.failed, Unavailable)


def test_a_body_whose_last_flush_fails_is_unavailable_and_can_be_closed(tmp_path: Path, full_disk: FullDisk) -> None:
    received = body(tmp_path, Room(10_000), most_bytes=10**6)
    for _ in range(6):
        received.write(memoryview(bytes(1000)))

    with full_disk():
        with pytest.raises(Unavailable), received.opened():
            pass
        received.close()

    with received.opened() as data:
        assert len(data) == 0


def test_an_empty_body_needs_no_file(tmp_path: Path) -> None:
    received = body(tmp_path, Room(0))
    received.write(memoryview(b""))

    with received.opened() as data:
        assert len(data) == 0


def test_the_prefix_takes_memory_too(tmp_path: Path) -> None:
    room = Room(10_000)
    received = body(tmp_path, room)
    received.write(memoryview(b"four"))
    held = room.held_bytes
    received.close()
    received.close()

    assert (held, room.held_bytes) == (len(PREFIX) + 4, 0)


def test_bodies_share_the_spool_and_a_body_without_room_is_unavailable(tmp_path: Path) -> None:
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
