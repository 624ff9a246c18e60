"""What takes long, or much, is in nobody else's way."""

import asyncio
import threading
import zlib
from pathlib import Path

from gateway.stow.delivery import PartDelivery
from operators.dicom.part10 import split_part10
from schemas.objects import Bucket
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import multipart, stow_world

ONE = part10()


def bomb(size_bytes: int) -> bytes:
    """Return a deflated instance that inflates to more than is taken."""
    prefix = part10(transfer_syntax="1.2.840.10008.1.2.1.99")
    deflater = zlib.compressobj(9, wbits=-15)
    data = deflater.compress(bytes(size_bytes)) + deflater.flush()
    return prefix[: split_part10(prefix).prefix_length] + data


def test_who_sends_much_to_inflate_stops_nobody_and_waits_for_who_did_before(tmp_path: Path) -> None:
    # Both are inflated to a hundred times their size, 30 MB, before they are refused.
    deflated = bomb(300 * 2**20)
    turns, threads = 0, set[str]()

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1
            threads.update(one.name for one in threading.enumerate() if one.name.startswith("inflate"))

    async def test() -> tuple[int, list[bytes]]:
        async with stow_world(tmp_path) as world:
            turning = asyncio.create_task(turn())
            await world.post(multipart(ONE))
            idle = turns
            await asyncio.gather(*(world.post(multipart(deflated + bytes(one))) for one in range(2)))
            turning.cancel()
            return idle, world.stored(Bucket.QUARANTINE)

    idle, kept = asyncio.run(test())
    assert turns - idle > 5 * idle
    assert len(threads) == 1
    assert kept == [deflated, deflated + b"\0"]


def test_the_beginning_of_a_part_takes_room_until_it_is_clear_what_it_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as world:
            room, part = world.intake.room, PartDelivery(world.intake.acceptance, {})
            part.write(memoryview(ONE[:200]))
            assert room.held_bytes == 200
            part.write(memoryview(ONE[200:]))
            part.end()
            assert room.held_bytes >= len(ONE)
            part.close()
            part.close()

            assert room.held_bytes == 0

    asyncio.run(test())
